"""``python -m tests.chaos``: kill controllers until it is certain that nothing is lost by it.

On SQLite and on a real PostgreSQL: KILLS times at random moments (200 if unset) and a tenth of that at each crash
point, a lease that runs out, a database that is away for half a minute, and eight controllers at once that share 200
searches and are not killed. Progress goes to stderr; stdout has one line of JSON. SEED repeats a run, as far as a kill
can be repeated.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests import postgres
from tests.chaos.bench import Bench, Reckoning
from tests.chaos.campaign import crash_at_points, crash_when_cancelled, crash_when_resumed, kill_at_random
from tests.chaos.crowd import crowd
from tests.chaos.outages import cut_off, lock_out, take_over
from tests.search.conftest import make_model, make_task

KILLS = 200
AWAY = 30.0
CONTROLLERS, SEARCHES = 8, 200


def main() -> int:
    """Run the whole campaign; return the exit code."""
    kills = int(os.environ.get("KILLS", KILLS))
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    say(f"seed {seed}; SEED={seed} repeats it")
    found = Reckoning()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autopeft-chaos-")))
        model, task = make_model(folder / "model"), make_task(folder / "rows.csv")
        server = stack.enter_context(postgres.running())
        for name, url, away in (
            ("SQLite", f"sqlite:///{folder / 'autopeft.db'}", lock_out),
            ("PostgreSQL", server.new_database(), lambda bench, *rest: cut_off(bench, server, *rest)),
        ):
            (folder / name).mkdir()
            bench = Bench(url, folder / name, model, task)
            stack.callback(bench.close)
            campaign(bench, name, kills, random.Random(f"{seed} {name}"), found, away)
    for note in found.notes:
        say(note)
    say(f"{time.monotonic() - began:.0f} s")
    print(json.dumps(found.to_dict()))
    return 0 if found.clean else 1


def campaign(
    bench: Bench, name: str, kills: int, rng: random.Random, found: Reckoning, away: Callable[..., None]
) -> None:
    """Do to the searches in one database all that can be done to their controllers."""

    def tell(what: str) -> None:
        say(f"{name}: {what}")

    each = max(2, kills // 20)
    kill_at_random(bench, kills, rng, found, tell)
    crash_at_points(bench, each, rng, found, tell)
    for index in range(each):
        crash_when_cancelled(bench, ("before", "after")[index % 2], rng, found)
        crash_when_resumed(bench, rng, found)
    tell(f"{found.kills} kills, those of cancelled and of resumed searches among them")
    tell(f"taken over {take_over(bench, found):.1f} s after its owner elsewhere was lost")
    away(bench, AWAY, found)
    tell(f"a database that was away for {AWAY:.0f} s: {len(found.notes)} found wrong")
    turnout = crowd(bench, CONTROLLERS, SEARCHES, found)
    shares = ", ".join(map(str, turnout.shares))
    tell(f"{SEARCHES} searches in {turnout.seconds:.0f} s by {CONTROLLERS} controllers at once ({shares} each)")


def say(what: str) -> None:
    """Tell the progress."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
