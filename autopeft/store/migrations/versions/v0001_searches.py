"""Searches and evaluations, as the first versions of AutoPEFT made them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "autopeft_searches",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.String(2000), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("owner", sa.String(200)),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.UniqueConstraint("name", name="uq_autopeft_searches_name"),
    )
    op.create_index("ix_autopeft_searches_state", "autopeft_searches", ["state"])
    op.create_table(
        "autopeft_evaluations",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "search_id", sa.String(32), sa.ForeignKey("autopeft_searches.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("model_hash", sa.String(64), nullable=False),
        sa.Column("task_hash", sa.String(64), nullable=False),
        sa.Column("architecture", sa.JSON, nullable=False),
        sa.Column("fidelity", sa.JSON, nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.UniqueConstraint("search_id", "fingerprint", "phase", "seed", name="uq_autopeft_evaluations_run"),
    )
    op.create_index(
        "ix_autopeft_evaluations_known", "autopeft_evaluations", ["model_hash", "task_hash", "fingerprint"]
    )


def downgrade() -> None:
    """Remove both."""
    op.drop_table("autopeft_evaluations")
    op.drop_table("autopeft_searches")
