"""The bench that controllers are killed on: searches, the processes that work on them, and the reckoning after."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from autopeft.store import SearchRecord, Store, Submission
from autopeft.submission import submit_options
from autopeft.trial import open_storage, read_trials
from tests.chaos.launcher import Job, promises, work

# The server that controllers are forked from has done their imports, and pytest's, which they would do as well.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.chaos.warm", "pytest"])
PATIENT = 60.0


@dataclass
class Reckoning:
    """What was found out of order: counts, and a sentence for each."""

    kills: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was."""
        return not (self.lost or self.doubled or self.stuck)

    def note(self, kind: str, what: str) -> None:
        """Count something as ``lost``, ``doubled`` or ``stuck``."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.notes.append(f"{kind}: {what}")

    def to_dict(self) -> dict[str, int]:
        """Return the counts."""
        return {"kills": self.kills, "lost": self.lost, "doubled": self.doubled, "stuck": self.stuck}


class Bench:
    """Searches in one database, and controllers that work on them.

    Args:
        url: of an empty database.
        folder: for the data folder, and the controllers' logs.
        model: folder of a tiny model; it is described, and never run.
        task: file of a tiny task.
    """

    def __init__(self, url: str, folder: Path, model: Path, task: Path) -> None:
        self.url = url
        self.store = Store(url)
        self._folder = folder
        self._model, self._task = model, task
        self._names = count(1)
        self._started: list[ForkServerProcess] = []
        self._facts: dict[str, Any] | None = None

    def submit(self, budget: int = 30, seed: int = 0, **more: Any) -> SearchRecord:
        """Queue a search of so many trials, for whichever controller is free."""
        options: dict[str, Any] = {
            "name": f"search {next(self._names)}",
            "model": str(self._model),
            "task": {"name": str(self._task)},
            "executor": "ray",
            "sampler": "random",
            "budget": str(budget),
            "seed": seed,
            "confirm": 1,
            **more,
        }
        plan, facts = submit_options(options)
        return self.store.create(plan.spec, facts, Submission("chaos"))

    def log(self, record: SearchRecord) -> Path:
        """Return the file in which a search's controllers note what they were promised."""
        return self._folder / f"{record.id}.jsonl"

    def job(self, record: SearchRecord, **more: Any) -> Job:
        """Return the work of a controller that is to take this search next."""
        return Job(self.url, self._folder / "home", self.log(record), **more)

    def start(self, job: Job) -> ForkServerProcess:
        """Start a controller."""
        process = FORK.Process(target=work, args=(job,))
        process.start()
        self._started.append(process)
        return process

    def kill(self, process: ForkServerProcess) -> bool:
        """End a controller by `kill -9`; False where it had ended already."""
        alive = process.is_alive()
        process.kill()
        process.join(PATIENT)
        return alive

    def wait_until(self, record: SearchRecord, *states: str) -> SearchRecord:
        """Wait until a search is in one of these states, or for a minute, and return it."""
        deadline = time.monotonic() + 2 * PATIENT
        while (now := self.store.get(record.id)).state not in states and time.monotonic() < deadline:
            time.sleep(0.05)
        return now

    def finish(self, record: SearchRecord) -> SearchRecord:
        """Have a controller that nobody kills bring a search to its end, unless it stands still for a minute."""
        process = self.start(self.job(record))
        size = -1
        while process.is_alive() and size != (size := self._size(record)):
            process.join(PATIENT)
        self.kill(process)
        return self.store.get(record.id)

    def _size(self, record: SearchRecord) -> int:
        path = self.log(record)
        return path.stat().st_size if path.exists() else 0

    def promises(self, record: SearchRecord) -> Iterator[dict[str, Any]]:
        """Yield what the controllers of a search noted, in order."""
        return promises(self.log(record))

    def wait_for(
        self, record: SearchRecord, what: str, after: float = 0.0, patience: float = PATIENT
    ) -> dict[str, Any]:
        """Wait until a controller has noted something of this kind after a moment, and return the note."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            found = next((one for one in self.promises(record) if one["what"] == what and one["at"] > after), None)
            if found is not None:
                return found
            time.sleep(0.01)
        raise AssertionError(f"no {what!r} within {patience} seconds; {self.last_words(record)}")

    def last_words(self, record: SearchRecord) -> str:
        """Return the end of what a search's controllers printed."""
        path = self.log(record).with_suffix(".txt")
        return path.read_text()[-2000:] if path.exists() else "no controller ever spoke"

    def alive(self) -> list[int | None]:
        """Return the ids of the controllers that are still there."""
        return [process.pid for process in self._started if process.is_alive()]

    def close(self) -> None:
        """End whatever still runs."""
        for process in self._started:
            self.kill(process)
        self.store.close()

    # -- the reckoning ------------------------------------------------------------------------------------------------

    def reckon(self, record: SearchRecord, found: Reckoning, state: str = "done") -> None:
        """Compare what a finished search holds with what its controllers were promised."""
        now = self.store.get(record.id)
        if now.state != state or now.owner is not None:
            found.note("stuck", f"{now.name} is {now.state}, owned by {now.owner}: {now.detail}")
        if self.alive():
            found.note("stuck", f"after {now.name} the controllers {self.alive()} are still there")
        trials = self._recorded(now, found)
        self._compare_tables(now, trials, found)
        self._compare_promises(now, trials, found)
        finished = [trial for trial in trials.values() if trial[1] != "running"]
        wanted = int(now.spec.budget)
        if state == "done" and len(finished) != wanted:
            kind = "lost" if len(finished) < wanted else "doubled"
            found.note(kind, f"{now.name} has {len(finished)} finished trials, and {wanted} were asked for")

    def _recorded(self, record: SearchRecord, found: Reckoning) -> dict[int, tuple[str, str, float | None]]:
        """Return fingerprint, state and score of each trial in Optuna's record, by number."""
        storage = open_storage(self.url)
        trials = read_trials(storage, record.name)
        frozen = optuna.load_study(study_name=record.name, storage=storage).get_trials(deepcopy=False)
        storage.engine.dispose()
        running = [one.number for one in frozen if one.state == TrialState.RUNNING]
        if running:
            found.note("stuck", f"trials {running} of {record.name} are still running")
        if [one.number for one in frozen] != list(range(len(frozen))):
            found.note("doubled", f"numbers of {record.name} are not each there once")
        marks = Counter(trial.architecture.fingerprint for trial in trials)
        for mark in (mark for mark, times in marks.items() if times > 1):
            found.note("doubled", f"architecture {mark} is {marks[mark]} trials of {record.name}")
        return {trial.number: (trial.architecture.fingerprint, trial.state, trial.score) for trial in trials}

    def _compare_tables(
        self, record: SearchRecord, trials: dict[int, tuple[str, str, float | None]], found: Reckoning
    ) -> None:
        entries = self.store.trials.page(record.id, 100_000)
        table = {entry.number: (entry.fingerprint, entry.state, entry.score) for entry in entries}
        for number in trials.keys() | table.keys():
            if trials.get(number) != table.get(number):
                what = f"trial {number} of {record.name}: {trials.get(number)} in Optuna, {table.get(number)} in ours"
                found.note("lost", what)

    def _compare_promises(
        self, record: SearchRecord, trials: dict[int, tuple[str, str, float | None]], found: Reckoning
    ) -> None:
        stored = {
            (phase, *key): report
            for phase in ("proxy", "confirmation")
            for key, report in self.store.evaluations(record, phase).items()
        }
        kept: set[tuple[str, str, int]] = set()
        for one in self.promises(record):
            if one["what"] == "claim":
                continue
            if one["what"] == "told":
                was = (one["fingerprint"], one["state"], one["score"])
                if trials.get(one["number"]) != was:
                    found.note("lost", f"trial {one['number']} was {was}, and is {trials.get(one['number'])}")
                continue
            key = (one["phase"], one["fingerprint"], one["seed"])
            if one["what"] == "run" and key in kept:
                found.note("doubled", f"{key} was run again after it had been stored")
            if one["what"] == "evaluation":
                kept.add(key)
                report = stored.get(key)
                if report is None or one["score"] not in (None, *report.scores.values()):
                    found.note("lost", f"run {key} scored {one['score']}, and the store has {report}")
