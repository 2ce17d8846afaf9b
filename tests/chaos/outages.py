"""What else goes wrong beside a killed controller: a database that is away, a full disk, an owner that is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from dataclasses import replace
from multiprocessing.context import ForkServerProcess

import psutil

from autopeft.store import SearchRecord
from tests.chaos.bench import PATIENT, Bench, Reckoning
from tests.postgres import Postgres

LEASE, SHORT = 15.0, 1.5


def take_over(bench: Bench, found: Reckoning, lease: float = LEASE) -> float:
    """Kill a controller on another machine; return how many seconds later one on this machine starts a trial."""
    record = bench.submit(budget=12)
    process = bench.start(bench.job(record, host="elsewhere", lease=lease))
    bench.wait_for(record, "told")
    bench.kill(process)
    found.kills += 1
    began = time.monotonic()
    waiting = bench.start(bench.job(record, lease=lease, once=False))
    again = bench.wait_for(record, "run", after=began, patience=lease + PATIENT)["at"] - began
    _end(bench, record, waiting)
    bench.reckon(record, found)
    if again > lease + 5:
        found.note("stuck", f"{record.name} was taken over after {again:.1f} s only")
    return again


def lock_out(bench: Bench, seconds: float, found: Reckoning) -> None:
    """Lock an SQLite file for a while, in the midst of a search."""
    record = bench.submit(budget=40)
    waiting = bench.start(bench.job(record, once=False))
    bench.wait_for(record, "told")
    other = sqlite3.connect(bench.url.removeprefix("sqlite:///"), timeout=PATIENT, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    time.sleep(seconds)
    other.execute("ROLLBACK")
    other.close()
    _end(bench, record, waiting)
    bench.reckon(record, found)


def cut_off(bench: Bench, server: Postgres, seconds: float, found: Reckoning) -> None:
    """Stop a PostgreSQL server for a while, in the midst of a search."""
    record = bench.submit(budget=40)
    waiting = bench.start(bench.job(record, once=False))
    bench.wait_for(record, "told")
    server.stop()
    time.sleep(seconds)
    server.start()
    _end(bench, record, waiting)
    bench.reckon(record, found)


def fill_up(bench: Bench, found: Reckoning) -> tuple[str, int]:
    """Let an SQLite file's disk be full in the midst of a search, and then no more.

    Returns:
        What was said of it, and how many finished trials could be read then.
    """
    record = bench.submit(budget=40)
    with sqlite3.connect(bench.url.removeprefix("sqlite:///")) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    process = bench.start(bench.job(record, pages=pages + 60, once=False))
    deadline = time.monotonic() + PATIENT
    while "disk is full" not in bench.last_words(record) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    process.join(PATIENT)
    said = bench.last_words(record)
    readable = bench.store.trials.count(record.id, "complete")
    bench.finish(record)
    bench.reckon(record, found)
    return said, readable


def wake_up(bench: Bench, pause: tuple[str, str, int], found: Reckoning) -> None:
    """Stop a controller until another has finished its search, and let it go on then."""
    record = bench.submit(budget=14)
    # Its promises are its own: what it does after it has lost the search counts for nothing.
    job = replace(bench.job(record, pause=pause, lease=SHORT), log=bench.log(record).with_suffix(".asleep"))
    zombie = bench.start(job)
    assert zombie.pid is not None
    _wait_until_stopped(zombie.pid)
    _end(bench, record, bench.start(bench.job(record, once=False)))
    before = bench.store.get(record.id)
    os.kill(zombie.pid, signal.SIGCONT)
    zombie.join(PATIENT)
    if zombie.exitcode != 0:
        found.note("stuck", f"a controller that woke up after {pause} ended with {zombie.exitcode}")
    after = bench.store.get(record.id)
    if after != before:
        found.note("stuck", f"a controller that woke up after {pause} changed {before} to {after}")
    bench.reckon(record, found)


def _end(bench: Bench, record: SearchRecord, process: ForkServerProcess) -> None:
    """Wait until a search is done, and stop the controller that waits for more."""
    bench.wait_until(record, "done", "failed", "cancelled")
    process.terminate()
    process.join(PATIENT)


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + PATIENT
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, "no controller came to where it is to be stopped"
        time.sleep(0.01)
