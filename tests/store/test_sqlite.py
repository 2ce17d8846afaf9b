"""What only an SQLite file needs: its locks, its write-ahead log, its settings."""

import sqlite3
import threading

import pytest
from sqlalchemy import text

from autopeft.database import PATIENCE, open_engine
from autopeft.store import Store
from autopeft.trial import open_storage


def test_a_new_file_that_another_process_writes_is_switched_to_a_write_ahead_log_once_it_is_let_go(tmp_path):
    path = tmp_path / "new.db"
    writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(0.3, writer.close)
    letting_go.start()
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    letting_go.join()


def test_the_database_is_safe_to_share_and_to_crash_on(file_url):
    engine = open_engine(file_url)
    with engine.begin() as connection:
        settings = {
            pragma: connection.execute(text(f"PRAGMA {pragma}")).scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1000 * PATIENCE}
    storage = open_storage(file_url)
    with storage.engine.begin() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_transaction_takes_the_write_lock_when_it_begins(file_url):
    store, path = Store(file_url), file_url.removeprefix("sqlite:///")
    with store._sessions.write() as session:
        session.execute(text("SELECT 1"))
        other = sqlite3.connect(path, timeout=0.01, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
