"""An empty database of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autopeft.messages import SearchSpec
from autopeft.store import SearchRecord, Store
from tests.postgres import postgres
from tests.store.processes import FACTS

__all__ = ["postgres"]


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that is not there yet, nor is its folder."""
    return f"sqlite:///{tmp_path / 'folder' / 'autopeft.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, file_url: str) -> str:
    """The URL of an empty database of each kind."""
    return file_url if request.param == "sqlite" else str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def search(store: Store) -> SearchRecord:
    return store.create(SearchSpec(name="mine"), FACTS)
