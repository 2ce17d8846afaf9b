"""Many controllers and many more searches at once: each search is taken by one of them, once, and done."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from autopeft.store import SearchRecord
from tests.chaos.bench import PATIENT, Bench, Reckoning
from tests.chaos.launcher import promises

BUDGET = 3
# As long as no machine is too busy to renew it in time: what follows from one that ran out is tested elsewhere.
LEASE = 300.0


@dataclass(frozen=True)
class Turnout:
    """What a crowd of controllers did.

    Attributes:
        seconds: from the start of the first to the end of the last.
        shares: searches that each controller took.
    """

    seconds: float
    shares: tuple[int, ...]


def crowd(bench: Bench, controllers: int, searches: int, found: Reckoning) -> Turnout:
    """Let controllers loose on searches that wait; every search is to be taken once, and every run to happen once."""
    records = [
        bench.submit(budget=BUDGET, seed=seed, confirm=0, baselines=False, warm_start="none")
        for seed in range(searches)
    ]
    logs = [bench.log(records[0]).with_name(f"controller {number}.jsonl") for number in range(controllers)]
    began = time.monotonic()
    processes = [bench.start(replace(bench.job(records[0], lease=LEASE), log=log)) for log in logs]
    for process in processes:
        process.join(PATIENT + searches)
    seconds = time.monotonic() - began
    for record in records:
        bench.reckon(record, found)
        _compare_claims(bench, record, found)
    told = [list(promises(log)) for log in logs]
    runs = sum(one["what"] == "run" for lines in told for one in lines)
    if runs != BUDGET * searches:
        kind = "lost" if runs < BUDGET * searches else "doubled"
        found.note(kind, f"{searches} searches of {BUDGET} trials made {runs} runs")
    return Turnout(seconds, tuple(sum(one["what"] == "claim" for one in lines) for lines in told))


def _compare_claims(bench: Bench, record: SearchRecord, found: Reckoning) -> None:
    now = bench.store.get(record.id)
    if now.attempt != 1:
        found.note("doubled", f"{now.name} was taken {now.attempt} times")
    states = [event.body["state"] for event in bench.store.events.after(record.id) if event.kind == "state"]
    if states != ["running", "done"]:
        found.note("doubled", f"{now.name} went through {states}")
