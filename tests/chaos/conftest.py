"""A bench on each database, and searches to be killed on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.bench import Bench, Reckoning
from tests.postgres import postgres
from tests.search.conftest import tiny_model, tiny_task

__all__ = ["postgres", "tiny_model", "tiny_task"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'autopeft.db'}"
    server = request.getfixturevalue("postgres")
    return str(server.new_database())


@pytest.fixture
def bench(url: str, tmp_path: Path, tiny_model: Path, tiny_task: Path) -> Iterator[Bench]:
    made = Bench(url, tmp_path, tiny_model, tiny_task)
    yield made
    made.close()


@pytest.fixture
def found() -> Iterator[Reckoning]:
    """What is found out of order, which is to be nothing in the end."""
    reckoning = Reckoning()
    yield reckoning
    assert reckoning.clean, "\n".join(reckoning.notes)
