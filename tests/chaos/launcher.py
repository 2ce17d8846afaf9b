"""A controller process to be killed: the real dispatcher, controller, study and store, with scores that are made up.

It is forked from a server that has imported everything already, so that it works after a tenth of a second. What it
was promised to be kept it writes to a log of its own first, which is on disk before it goes on: whatever is killed
then, the log says what must be there. Crash points are put around the production code's methods from outside.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch

import autopeft.database
import autopeft.lease
from autopeft.controller.confirmation_phase import ConfirmationPhase
from autopeft.controller.search_phase import SearchPhase
from autopeft.dispatcher import Dispatcher
from autopeft.executors import ExecutorKind, ExecutorOptions
from autopeft.logs import configure
from autopeft.messages import TrialReport, TrialRequest
from autopeft.registry import EXECUTORS
from autopeft.settings import Settings
from autopeft.store import Store
from autopeft.store.events import Events
from autopeft.store.trials import Trials
from autopeft.study import Study

CRASH = 137
STEPS = 9


@dataclass(frozen=True)
class Job:
    """What a controller process is to do.

    Attributes:
        log: file of what it was promised.
        crash: (point, "before" or "after", which call) at which it ends as by `kill -9`.
        pause: the same, where it is stopped as by SIGSTOP instead, and goes on by SIGCONT.
        pages: at most so many a SQLite file may have, as if the disk were full then.
        faults: reasons for which some of its runs fail, each with the remainder by five of the fingerprint they hit.
        host: on which it claims to run.
        lease: seconds for which it takes a search.
        patience: seconds for which a database that is away is waited for.
        pace: how many times as long as usual each run takes.
    """

    url: str
    home: Path
    log: Path
    crash: tuple[str, str, int] | None = None
    pause: tuple[str, str, int] | None = None
    pages: int | None = None
    faults: dict[int, str] = field(default_factory=dict)
    host: str = ""
    lease: float = 15.0
    patience: float = 60.0
    pace: float = 1.0
    once: bool = True


POINTS: dict[str, tuple[type, str]] = {
    "claim": (Store, "claim_next"),
    "start": (Store, "set_state"),
    "ask": (Study, "_started"),
    "restart": (Study, "restart"),
    "launch": (SearchPhase, "_proxy_request"),
    "result": (Store, "add_evaluation"),
    "tell": (Study, "tell"),
    "put": (Trials, "put"),
    "event": (Events, "add"),
    "confirm": (ConfirmationPhase, "_keep"),
    "release": (Store, "release"),
}


def work(job: Job) -> None:
    """Work on what is queued until nothing is; the entry of a controller process."""
    speak_to(job.log.with_suffix(".txt"))
    quiet()
    pretend(job)
    _keep_promises(job.log)
    if job.crash is not None:
        _happen_at(*job.crash, lambda: os._exit(CRASH))
    if job.pause is not None:
        _happen_at(*job.pause, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    dispatcher = Dispatcher(Store(job.url, job.patience), Settings(job.home, job.url, None))
    signal.signal(signal.SIGTERM, lambda *_: dispatcher.stop())
    dispatcher.run(until_idle=job.once)


def speak_to(path: Path) -> None:
    """Write what goes to stdout and stderr to the end of a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)


def quiet() -> None:
    """Leave the other core to whoever kills, and the log to the controller."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    configure()


def pretend(job: Job) -> None:
    autopeft.lease.LEASE_SECONDS = job.lease
    autopeft.lease.RENEW_EVERY = job.lease / 4
    if job.host:
        socket.gethostname = lambda: job.host
    kind = ExecutorKind("made-up scores", lambda options: MadeUp(options, job))
    EXECUTORS._loaded["ray"] = kind
    if job.pages is not None:
        _fill(job.pages)


def _fill(pages: int) -> None:
    connected = autopeft.database._on_connect

    def connect(patience: float, connection: Any, record: object) -> None:
        connected(patience, connection, record)
        connection.execute(f"PRAGMA max_page_count={pages}")

    autopeft.database._on_connect = connect


# -- runs


class MadeUp:
    """Executor of runs that take some ten milliseconds, and whose scores follow from the architecture.

    All but the seventh digit, that is, which differs from run to run: of a score one can see which run it is from.
    """

    def __init__(self, options: ExecutorOptions, job: Job) -> None:
        self.slots, self.gpus = options.workers, 0.0
        self._job = job
        self._running: list[tuple[float, TrialRequest]] = []

    def submit(self, request: TrialRequest) -> None:
        promise(self._job.log, "run", phase=phase(request), fingerprint=request.decoded.fingerprint, seed=request.seed)
        seconds = 0.01 + int(request.decoded.fingerprint[:2], 16) / 255 * 0.04
        self._running.append((time.monotonic() + seconds * self._job.pace, request))

    def wait(self, timeout: float) -> list[TrialReport]:
        if not self._running:
            return []
        self._running.sort(key=lambda one: one[0])
        time.sleep(max(0.0, min(timeout, self._running[0][0] - time.monotonic())))
        ended = [request for end, request in self._running if end <= time.monotonic()]
        self._running = [one for one in self._running if one[1] not in ended]
        return [self._report(request) for request in ended]

    def close(self) -> None:
        self._running.clear()

    def _report(self, request: TrialRequest) -> TrialReport:
        fingerprint = request.decoded.fingerprint
        reason: Any = self._job.faults.get(int(fingerprint, 16) % 5)
        if reason is not None and phase(request) == "proxy":
            return TrialReport.failure(request.key, reason, "made up", 0.01)
        score = round(random.Random(fingerprint).uniform(0.4, 0.9), 4) + random.SystemRandom().random() * 1e-5
        report = TrialReport(
            key=request.key,
            state="complete",
            scores=dict.fromkeys(request.parts, score),
            seconds=0.01,
            steps=STEPS,
            best_step=STEPS,
            curve=((1, 0.8 * score), (3, 0.9 * score), (STEPS, score)),
            device="none",
            weights=b"made up" if request.keep_weights else None,
        )
        held = report.held_to(request.bars)
        assert held is not None
        return held


def phase(request: TrialRequest) -> str:
    return "confirmation" if "validation" in request.parts else "proxy"


# -- promises


def promise(log: Path, what: str, **values: object) -> None:
    """Add a line to a log; it is on disk when this returns."""
    line = json.dumps({"what": what, "pid": os.getpid(), "at": time.monotonic(), **values}) + "\n"
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line.encode())
    os.fsync(file)
    os.close(file)


def promises(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log, in order; one that a kill cut off was never promised."""
    for line in log.read_text().splitlines(keepends=True) if log.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)


def _keep_promises(log: Path) -> None:
    store, tell, claim = Store.add_evaluation, Study.tell, Store.claim_next

    def claim_next(self: Store, *rest: Any) -> Any:
        claimed = claim(self, *rest)
        if claimed is not None:
            promise(log, "claim", search=claimed.id)
        return claimed

    def add_evaluation(self: Store, record: Any, kept: Any, architecture: Any, *rest: Any) -> None:
        store(self, record, kept, architecture, *rest)
        _, seed, report = rest
        score = report.scores.get("holdout", report.scores.get("validation"))
        fingerprint = architecture.fingerprint
        promise(log, "evaluation", phase=kept, fingerprint=fingerprint, seed=seed, state=report.state, score=score)

    def told(self: Study, number: int, report: TrialReport, score: float | None) -> Any:
        trial = tell(self, number, report, score)
        fingerprint = trial.architecture.fingerprint
        promise(log, "told", number=number, fingerprint=fingerprint, state=trial.state, score=trial.score)
        return trial

    Store.claim_next = claim_next  # type: ignore[method-assign]
    Store.add_evaluation = add_evaluation  # type: ignore[method-assign]
    Study.tell = told  # type: ignore[method-assign]


# -- crashes


def _happen_at(point: str, when: str, nth: int, event: Callable[[], None]) -> None:
    owner, name = POINTS[point]
    method, calls = getattr(owner, name), 0

    def eventful(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == nth
        if mine and when == "before":
            event()
        returned = method(*arguments, **named)
        if mine and when == "after":
            event()
        return returned

    setattr(owner, name, eventful)
