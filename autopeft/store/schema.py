"""Bringing the tables up to date: alembic's migrations, in one transaction, by one process at a time."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from autopeft.errors import Conflict

VERSION_TABLE = "autopeft_alembic_version"
FIRST, HEAD = "0001", "0003"
# Any number that nothing else in the database locks.
LOCK = 0x6175746F


def upgrade(engine: Engine) -> None:
    """Create the tables, or migrate those of an older version; nothing is done where they are up to date.

    Raises:
        Conflict: a newer version of AutoPEFT has migrated them already.
    """
    with engine.connect() as connection:
        found = _version(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise Conflict(f"the database has tables of version {found}, and this AutoPEFT knows {HEAD}; upgrade AutoPEFT")
    with engine.begin() as connection:
        _migrate(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - our own constant
    return None if version is None else str(version)


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - only a database that is not up to date needs it
    from alembic.config import Config  # noqa: PLC0415

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    config = Config()
    config.set_main_option("script_location", "autopeft.store:migrations")
    config.attributes["connection"] = connection
    # Versions before the first migration made their tables without one.
    if _version(connection) is None and inspect(connection).has_table("autopeft_searches"):
        command.stamp(config, FIRST)
    command.upgrade(config, HEAD)
