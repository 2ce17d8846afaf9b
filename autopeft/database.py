"""Opening a database so that several processes may share it and a crash loses nothing that was committed."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from autopeft.errors import InvalidInput, Problem

PATIENCE = 60.0
# Connections that wait for the next transaction, at most: the service has so many threads, others need one or two.
KEPT = 16
# Execution options of a transaction that only reads, which need not wait for its turn to write.
READ_ONLY = {"autopeft_reads": True}
URL_VARIABLE = "AUTOPEFT_DATABASE_URL"
USE = "use sqlite:////path/to/file.db or postgresql+psycopg://user@host/name"


def engine_options(url: str) -> dict[str, Any]:
    """Return the options with which an engine for this URL is created.

    Raises:
        InvalidInput: the URL is not one, or names a database other than SQLite and PostgreSQL.
    """
    backend = _parse(url).get_backend_name()
    if backend == "sqlite":
        return {"connect_args": {"timeout": PATIENCE}, "pool_size": KEPT}
    if backend == "postgresql":
        return {"pool_pre_ping": True, "pool_size": KEPT}
    raise InvalidInput(Problem(_variable() or URL_VARIABLE, backend, f"unknown; {USE}"))


def open_engine(url: str, patience: float = PATIENCE) -> Engine:
    """Return an engine for the URL, whose database answers; an SQLite file's folder is created.

    Args:
        url: SQLAlchemy URL.
        patience: seconds for which a lock, or a server that has gone away, is waited for; at first it must answer at
            once.

    Raises:
        InvalidInput: there is no such database, or its driver is not installed.
    """
    create_folder(url)
    try:
        engine = create_engine(url, **engine_options(url))
        if engine.dialect.name == "sqlite":
            protect(engine, patience)  # what it says to a connection reads the file
            engine.connect().close()
        else:
            engine.connect().close()  # without the patience that connections have from here on
            protect(engine, patience)
        return engine
    except ImportError as error:
        remedy = f"its driver is not installed: pip install {error.name}"
        raise InvalidInput(Problem(*_named(url), remedy)) from error
    except DBAPIError as error:
        reason = str(error.orig).strip().split("\n")[0]
        raise InvalidInput(Problem(*_named(url), f"cannot be opened: {reason}")) from error


def said(error: BaseException | None) -> str | None:
    """Return in one line what a database said, whoever has wrapped it; None where it is no error of a database."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    return None if error is None else str(error.orig).strip().split("\n")[0]


def create_folder(url: str) -> None:
    """Create the folder that an SQLite file is to lie in.

    Raises:
        InvalidInput: it cannot be created.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidInput(Problem(*_named(url), f"cannot create its folder: {reason}")) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
        return parsed
    except (ArgumentError, ImportError, ValueError) as error:
        problem = Problem(_variable() or URL_VARIABLE, url.partition(":")[0], f"no database URL; {USE}")
        raise InvalidInput(problem) from error


def _named(url: str) -> tuple[str, str]:
    """Return the variable that says where the database is, and what it says, without a password."""
    parsed = make_url(url)
    variable = _variable()
    if variable is not None:
        return variable, parsed.render_as_string()
    return "AUTOPEFT_HOME", str(Path(parsed.database or "").parent)


def _variable() -> str | None:
    """Return the variable that gives the URL, or the file that holds it; None where neither is set."""
    return next((name for name in (URL_VARIABLE, f"{URL_VARIABLE}_FILE") if os.environ.get(name)), None)


def protect(engine: Engine, patience: float = PATIENCE) -> None:
    """Make an engine safe to share between processes, across crashes and through a server's restart.

    SQLite takes its write lock when a transaction first writes, and two that have both read by then cannot both go
    on. Taking the lock at BEGIN makes them wait for each other instead. ``synchronous=FULL`` keeps what was committed
    through a power loss. A lock, or a server that does not answer, is waited for as
    many seconds as ``patience`` says.
    """
    if engine.dialect.name != "sqlite":
        event.listen(engine, "do_connect", partial(_connect, patience))
        return
    event.listen(engine, "connect", partial(_on_connect, patience))
    event.listen(engine, "begin", _on_begin)


def _connect(patience: float, dialect: Dialect, _: object, arguments: Any, options: Any) -> Any:
    """Connect to a server, waiting for one that has gone away to come back."""
    deadline = time.monotonic() + patience
    wait = 0.1
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() + wait > deadline:
                raise
            time.sleep(random.uniform(0.5, 1.0) * wait)
            wait = min(2.0, 2 * wait)


def _on_connect(patience: float, connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event says BEGIN, not Python's driver
    connection.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")
    _use_write_ahead_log(connection, patience)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_write_ahead_log(connection: sqlite3.Connection, patience: float) -> None:
    """Switch the file to a write-ahead log, waiting for other processes that open it for the first time too.

    SQLite does not wait by itself here: the switch raises a shared lock to an exclusive one, and to avoid a deadlock
    between two that do so, its busy timeout is not applied to that step.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.005, 0.05))


def _on_begin(connection: Connection) -> None:
    reads = READ_ONLY.items() <= connection.get_execution_options().items()
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
