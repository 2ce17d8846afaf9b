"""What the service keeps: who submitted a search, its trials page by page, events, tokens and uploads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

SEARCHES, TRIALS, EVENTS = "autopeft_searches", "autopeft_trials", "autopeft_events"


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column(SEARCHES, sa.Column("served", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column(SEARCHES, sa.Column("losses", sa.Integer, nullable=False, server_default="0"))
    op.add_column(SEARCHES, sa.Column("submitter", sa.String(200)))
    op.add_column(SEARCHES, sa.Column("idempotency_key", sa.String(200)))
    op.add_column(SEARCHES, sa.Column("request_hash", sa.String(64)))
    op.create_index("ix_autopeft_searches_idempotency", SEARCHES, ["submitter", "idempotency_key"], unique=True)
    op.create_index("ix_autopeft_searches_created", SEARCHES, ["created"])
    op.create_table(
        TRIALS,
        sa.Column("search_id", sa.String(32), sa.ForeignKey(f"{SEARCHES}.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("params", sa.BigInteger, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("updated", sa.Float, nullable=False),
    )
    op.create_table(
        EVENTS,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("search_id", sa.String(32), sa.ForeignKey(f"{SEARCHES}.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_index("ix_autopeft_events_search", EVENTS, ["search_id", "id"])
    op.create_table(
        "autopeft_tokens",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("scopes", sa.String(100), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
        sa.UniqueConstraint("digest", name="uq_autopeft_tokens_digest"),
    )
    op.create_table(
        "autopeft_uploads",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Remove them."""
    for name in ("autopeft_uploads", "autopeft_tokens", EVENTS, TRIALS):
        op.drop_table(name)
    op.drop_index("ix_autopeft_searches_created", SEARCHES)
    op.drop_index("ix_autopeft_searches_idempotency", SEARCHES)
    with op.batch_alter_table(SEARCHES) as table:
        for column in ("request_hash", "idempotency_key", "submitter", "losses", "served"):
            table.drop_column(column)
