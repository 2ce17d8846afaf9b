"""The same operations on PostgreSQL, where a server and its driver are at hand."""

import os
import uuid

import pytest

from autopeft.errors import Conflict
from autopeft.messages import SearchSpec
from autopeft.store import Store

URL = os.environ.get("AUTOPEFT_TEST_POSTGRES_URL")


@pytest.fixture
def store():
    pytest.importorskip("psycopg", reason="PostgreSQL needs the driver psycopg")
    if not URL:
        pytest.skip("AUTOPEFT_TEST_POSTGRES_URL names no PostgreSQL server")
    opened = Store(URL)
    yield opened
    opened.close()


def test_create_claim_renew_and_release(store):
    name = f"naïve 🦙 {uuid.uuid4().hex}"
    record = store.create(SearchSpec(name=name), {"model_hash": "m", "task_hash": "t"})
    with pytest.raises(Conflict):
        store.create(SearchSpec(name=name), {})
    mine = store.claim(name, "me", 30)
    assert store.claim(name, "you", 30) is None
    assert store.renew(mine, 30)
    store.release(mine, "failed", 1.0, "why \0")
    assert store.get(name).detail == "why ?"
    store.delete(record.id)
