"""Imported by the server that controllers are forked from: one search, so that all that is loaded late is loaded."""

import os
import tempfile
from pathlib import Path

from autopeft.dispatcher import Dispatcher
from autopeft.store import Submission
from autopeft.submission import submit_options
from tests.chaos import launcher
from tests.chaos.launcher import Job, Settings, Store
from tests.search.conftest import make_model, make_task


def search(folder: Path) -> None:
    """Run a search of made-up scores."""
    job = Job(f"sqlite:///{folder / 'autopeft.db'}", folder, folder / "log.jsonl")
    model, task = make_model(folder / "model"), make_task(folder / "rows.csv")
    plan, facts = submit_options({"model": str(model), "task": str(task), "sampler": "random", "budget": 12})
    store = Store(job.url)
    store.create(plan.spec, facts, Submission("warm"))
    launcher.quiet()
    launcher.pretend(job)
    Dispatcher(store, Settings(folder, job.url, None)).run(until_idle=True)
    store.close()


if __name__ == "tests.chaos.warm":
    spoken = os.dup(1), os.dup(2)
    with tempfile.TemporaryDirectory() as made:
        launcher.speak_to(Path(made) / "log.txt")
        search(Path(made))
    for number, file in enumerate(spoken, start=1):
        os.dup2(file, number)
        os.close(file)
