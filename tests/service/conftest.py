"""The service in this process, with one real checking process for all tests, and a finished search to read."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from starlette.testclient import TestClient

from autopeft.architecture import Architecture, Placement
from autopeft.messages import SearchSpec, TaskSpec, TrialReport
from autopeft.service.app import make_app
from autopeft.service.checking import Checker
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store, Submission
from autopeft.stored import to_entry
from autopeft.trial import Trial

HERE = "http://127.0.0.1:8000"
# Writes what a process opens and connects to into the file that AUTOPEFT_TEST_WATCH names.
WATCH = """
import os, sys
def _watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "open") and _file is not None:
        what = arguments[1] if event == "socket.connect" else arguments[0]
        os.write(_file, f"{event} {what!r}\\n".encode(errors="replace"))
_file = os.open(os.environ["AUTOPEFT_TEST_WATCH"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.addaudithook(_watch)
"""
FACTS = {
    "model_hash": "6fceb34132ad7269",
    "task_hash": "0" * 16,
    "kind": "classification",
    "labels": ["neg", "pos"],
    "metric": "accuracy",
    "rows": {"train": 46, "holdout": 12, "validation": 10, "test": 12},
    "base_parameters": 22_713_216,
    "versions": {"autopeft": "0.1.0"},
}
ROWS = "text,label\n" + "".join(f"{'good fine' if i % 2 else 'bad poor'} w{i % 7},{'ab'[i % 2]}\n" for i in range(60))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Requests are logged, which tests need not read."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@dataclass(frozen=True)
class Checking:
    """The checking process, and what it was seen to open and connect to."""

    checker: Checker
    watched: Path


@pytest.fixture(scope="session")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checking]:
    folder = tmp_path_factory.mktemp("watch")
    (folder / "sitecustomize.py").write_text(WATCH)
    changes = {
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "AUTOPEFT_TEST_WATCH": str(folder / "watched"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        checker = Checker(limit=200.0)
        checker.warm()
        checker._lane.submit(int).result()  # the process is there, with this environment
        yield Checking(checker, folder / "watched")
        checker.close()


@dataclass(frozen=True)
class Running:
    """A service with a data folder of its own; ``client`` sends no token."""

    app: FastAPI
    client: TestClient
    store: Store
    settings: Settings

    def upload(self, name: str = "rows.csv", content: bytes = ROWS.encode(), **headers: str) -> Any:
        return self.client.post("/api/v1/uploads", files={"file": (name, content)}, headers=headers)

    def token(self, *scopes: str, owner: str = "ada") -> dict[str, str]:
        """Headers of a new token."""
        return {"Authorization": f"Bearer {self.store.tokens.create(owner, scopes)[1]}"}


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, checking: Checking) -> Start:
    """``start(loopback=True)``: a service of its own."""

    def make(loopback: bool = True) -> Running:
        home = tmp_path / "home"
        settings = Settings(home, f"sqlite:///{home}/autopeft.db", None)
        store = Store(settings.database_url, 2.0)
        app = make_app(settings, store, loopback=loopback, checker=checking.checker)
        return Running(app, TestClient(app, base_url=HERE, raise_server_exceptions=False), store, settings)

    return make


@pytest.fixture
def service(start: Start) -> Running:
    return start()


def make_trial(number: int, score: float | None = None, **changes: Any) -> Trial:
    sizes = (Placement("lora", "attention.query", layer, 2 ** (number % 8 + 1)) for layer in range(1 + number % 6))
    architecture = Architecture(tuple(sizes))
    values: dict[str, Any] = {
        "number": number,
        "name": "",
        "architecture": architecture,
        "params": 1000 * (number + 1),
        "score": score,
        "state": "running" if score is None else "complete",
        "reason": None,
        "seconds": 1.5 * (number % 3),
        "attempts": 1,
    }
    return Trial(**{**values, **changes})


def finish(store: Store, name: str = "reviews", task: str = "docstrings", trials: int = 6) -> SearchRecord:
    """Store a search that looks as one does that is done."""
    spec = SearchSpec(name=name, task=TaskSpec(name=task), confirm=1)
    made = store.create(spec, FACTS, Submission("ada"))
    record = store.claim(made.id, "host:1:abc", 15.0)
    assert record is not None
    store.set_state(record, "running")
    found = [
        make_trial(0, 0.5, name="head only", architecture=Architecture(()), params=0),
        *(make_trial(number, 0.5 + 0.05 * number) for number in range(1, trials - 1)),
        make_trial(trials - 1, state="failed", reason="diverged", detail="the loss was not finite"),
    ]
    store.trials.put(record.id, record.attempt, map(to_entry, found))
    for trial in found[:3]:
        report = TrialReport(key="c", state="complete", scores={"validation": (trial.score or 0) + 0.01})
        store.add_evaluation(record, "confirmation", trial.architecture, spec.full, 0, report)
    for done in range(trials):
        store.events.add(record.id, "progress", progress(done))
    store.release(record, "done", 12.0)
    return store.get(record.id)


def progress(done: int) -> dict[str, Any]:
    return {
        "phase": "search",
        "done": done,
        "total": 6,
        "running": 0,
        "best": 0.5 + 0.05 * done,
        "hypervolume": 0.1 * done,
        "seconds": 2.0 * done,
        "seconds_left": None,
        "event": f"trial {done}",
    }


@pytest.fixture
def done(service: Running) -> SearchRecord:
    return finish(service.store)
