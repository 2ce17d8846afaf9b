"""A database that does not answer."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from autopeft.store import SearchRecord
from tests.service.conftest import Running


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_a_database_that_is_locked_is_503_soon_and_fine_again_after(service: Running, done: SearchRecord) -> None:
    path = f"/api/v1/searches/{done.id}/resume"
    with _locked(service.settings.home / "autopeft.db"):
        started = time.monotonic()
        answer = service.client.post(path)
        assert answer.status_code == 503 and time.monotonic() - started < 10
        assert answer.headers["Retry-After"].isdigit()
        assert answer.headers["content-type"] == "application/problem+json"
        # Reading waits for no writer.
        assert service.client.get(f"/api/v1/searches/{done.id}").status_code == 200
    assert service.client.post(path).status_code == 202


@pytest.mark.parametrize("error", [OperationalError("x", {}, Exception("server closed")), PoolTimeout("pool")])
def test_a_server_that_has_gone_away_is_503_on_every_route_but_healthz(
    service: Running, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(service.store._sessions, "read", fail)
    monkeypatch.setattr(service.store._sessions, "write", fail)
    for path in ("/readyz", "/metrics", "/api/v1/me", "/api/v1/searches", "/api/v1/searches/x/events", "/dashboard"):
        answer = service.client.get(path)
        assert answer.status_code == 503, path
        assert "server closed" not in answer.text and answer.headers["Retry-After"]
    assert service.client.post("/api/v1/searches", json={}).status_code == 503
    assert service.client.get("/healthz").status_code == 200


def test_a_fault_is_500_without_its_traceback(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(service.store, "get", fail)
    answer = service.client.get("/api/v1/searches/x")
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text and "Traceback" not in answer.text
