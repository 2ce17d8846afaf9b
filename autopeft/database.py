"""Opening a database so that several processes may share it and a crash loses nothing that was committed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url

from autopeft.errors import InvalidInput, Problem

BUSY_SECONDS = 30.0


def engine_options(url: str) -> dict[str, Any]:
    """Return the options with which an engine for this URL is created.

    Raises:
        InvalidInput: the URL is not one, or names a database other than SQLite and PostgreSQL.
    """
    try:
        backend = make_url(url).get_backend_name()
    except Exception as error:
        raise InvalidInput(Problem("AUTOPEFT_DATABASE_URL", None, "not a database URL")) from error
    if backend == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    if backend == "postgresql":
        return {"pool_pre_ping": True}
    raise InvalidInput(Problem("AUTOPEFT_DATABASE_URL", backend, "use sqlite:///... or postgresql+psycopg://..."))


def open_engine(url: str) -> Engine:
    """Return an engine for the URL; an SQLite file's folder is created."""
    create_folder(url)
    engine = create_engine(url, **engine_options(url))
    protect(engine)
    return engine


def create_folder(url: str) -> None:
    """Create the folder that an SQLite file is to lie in."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)


def protect(engine: Engine) -> None:
    """Make an SQLite engine safe to share between processes and across crashes; others are left as they are.

    SQLite takes its write lock when a transaction first writes, and two that have both read by then cannot both go
    on. Taking the lock at BEGIN makes them wait for each other instead. ``synchronous=FULL`` keeps what was committed
    through a power loss.
    """
    if engine.dialect.name != "sqlite":
        return
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event says BEGIN, not Python's driver
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
