"""Controllers that wait, and indexes with which a study of ten thousand trials is read quickly."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"

TRIALS, EVENTS, CONTROLLERS = "autopeft_trials", "autopeft_events", "autopeft_controllers"
INDEXES = {
    "ix_autopeft_trials_state": (TRIALS, ["search_id", "state"]),
    "ix_autopeft_trials_score": (TRIALS, ["search_id", "score", "number"]),
    "ix_autopeft_trials_points": (TRIALS, ["search_id", "params", "score", "number", "name", "fingerprint"]),
    "ix_autopeft_events_kind": (EVENTS, ["search_id", "kind", "id"]),
}


def upgrade() -> None:
    """Add them."""
    op.create_table(
        CONTROLLERS,
        sa.Column("owner", sa.String(200), primary_key=True),
        sa.Column("seen", sa.Float, nullable=False),
    )
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Remove them."""
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table)
    op.drop_table(CONTROLLERS)
