"""How alembic reaches the database: by the connection that :mod:`autopeft.store.schema` hands it."""

from __future__ import annotations

from alembic import context

from autopeft.store.schema import VERSION_TABLE
from autopeft.store.tables import Base


def _is_ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or (name or "").startswith("autopeft_")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    include_name=_is_ours,
)
with context.begin_transaction():
    context.run_migrations()
