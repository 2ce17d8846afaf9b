"""Kills by the hundred: at random moments, and at every point between two writes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from tests.chaos.bench import PATIENT, Bench, Reckoning
from tests.chaos.launcher import CRASH, POINTS

Say = Callable[[str], None]

# Kills of one search in a row; more than twenty without a finished run between, and a controller gives it up.
IN_A_ROW = 12
# Seconds after its start at which a controller is killed at the latest: it works from the first tenths on.
LATEST = 0.8
# How often each point is passed, in the search of a few trials that the crash is in.
CALLS = {"claim": 1, "start": 1, "restart": 1, "release": 1, "confirm": 2, "tell": 6}
MANY = 10
BUDGET = 11


def kill_at_random(bench: Bench, kills: int, rng: random.Random, found: Reckoning, say: Say) -> None:
    """Kill controllers at random moments, until there were so many kills; every search is then brought to its end."""
    wanted = found.kills + kills
    while found.kills < wanted:
        record = bench.submit(budget=rng.randint(16, 40), seed=rng.randrange(10_000))
        for _ in range(min(IN_A_ROW, wanted - found.kills)):
            process = bench.start(bench.job(record))
            time.sleep(rng.uniform(0.0, LATEST))
            if not bench.kill(process):
                break  # it had come to the end
            found.kills += 1
        bench.finish(record)
        bench.reckon(record, found)
        say(f"{found.kills} kills, {record.name}: {bench.store.get(record.id).state}, {len(found.notes)} found wrong")


def scenarios(each: int, rng: random.Random) -> Iterator[tuple[str, str, int]]:
    """Yield each crash point so many times, before and after in turn, at a call that the search comes to."""
    for point in POINTS:
        for index in range(each):
            when = "after" if index % 2 else "before"
            yield point, when, rng.randint(1, CALLS.get(point, MANY))


def crash_at_points(bench: Bench, each: int, rng: random.Random, found: Reckoning, say: Say) -> None:
    """End controllers at named points, each in a search of its own, that is then brought to its end."""
    for point, when, call in scenarios(each, rng):
        record = bench.submit(budget=BUDGET, seed=rng.randrange(10_000), baselines=point == "confirm")
        if point == "restart":  # something must have been lost before
            crash(bench, record, ("launch", "after", 2), found)
        crash(bench, record, (point, when, call), found)
        bench.finish(record)
        bench.reckon(record, found)
        say(f"{found.kills} kills, {when} {point} {call}: {len(found.notes)} found wrong")


def crash_when_cancelled(bench: Bench, when: str, rng: random.Random, found: Reckoning) -> None:
    """Lose a controller between the request to cancel its search and the end; resume the search after that."""
    record = bench.submit(budget=BUDGET + 10, seed=rng.randrange(10_000))
    process = bench.start(bench.job(record, crash=("release", when, 1)))
    bench.wait_for(record, "told")
    bench.store.request_cancel(record.id)
    process.join(PATIENT)
    found.kills += 1
    bench.finish(record)
    bench.reckon(record, found, "cancelled")
    bench.store.serve(record.id)
    bench.finish(record)
    bench.reckon(record, found)


def crash_when_resumed(bench: Bench, rng: random.Random, found: Reckoning) -> None:
    """Give a finished search more to do, and lose its controllers while they do it."""
    record = bench.submit(budget=BUDGET, seed=rng.randrange(10_000))
    bench.finish(record)
    spec = record.spec.model_copy(update={"budget": str(BUDGET + 8)})
    bench.store.serve(record.id, lambda _: spec)
    crash(bench, record, ("tell", rng.choice(("before", "after")), rng.randint(1, 5)), found)
    bench.finish(record)
    bench.reckon(record, found)


def crash(bench: Bench, record: object, crash: tuple[str, str, int], found: Reckoning) -> None:
    process = bench.start(bench.job(record, crash=crash))
    process.join(PATIENT)
    if process.exitcode == CRASH:
        found.kills += 1
    else:
        bench.kill(process)
        found.note("stuck", f"no controller came to {crash}; it ended with {process.exitcode}")
