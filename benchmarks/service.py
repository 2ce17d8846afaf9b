"""How quickly does the service answer while a search runs, and how quickly of a study of ten thousand trials?

    python benchmarks/service.py [--quick] [--json]

Starts `autopeft serve` with a data folder of its own, submits a search that trains, and lets clients ask for a minute:
each waits up to a second between two requests, as a page that refreshes itself does, and one request in twenty submits
a search. The study of ten thousand trials is asked for before, by one client alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import insert

from autopeft.architecture import Architecture, Placement
from autopeft.messages import SearchSpec
from autopeft.store import Store
from autopeft.store.tables import EventRow
from autopeft.stored import to_entry
from autopeft.trial import Trial

CLIENTS = 50
SECONDS, QUICK_SECONDS = 60.0, 20.0
LONGEST_PAUSE = 1.0
SUBMISSIONS = 0.05
TRIALS, BATCH = 10_000, 500
BIG = "ten thousand"
PAGE = {"search": "", "front": "/front", "trials": "/trials?limit=100&sort=score&order=desc", "history": "/history"}
REQUEST = {"model": "minilm", "task": "docstrings", "space": "lora", "executor": "inline", "confirm": 0}
FACTS = {
    "model_hash": "0" * 16,
    "task_hash": "0" * 16,
    "kind": "classification",
    "labels": ["a", "b"],
    "metric": "accuracy",
    "rows": {"train": 1000, "holdout": 250, "validation": 250, "test": 250},
    "base_parameters": 22_713_216,
    "versions": {},
    "first": [],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"ask for {QUICK_SECONDS:.0f} seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="autopeft-benchmark-") as folder:
        say(f"making a study of {TRIALS:,} trials")
        fill(Store(f"sqlite:///{Path(folder) / 'autopeft.db'}"))
        with serving(Path(folder)) as address:
            big = measure_big(address)
            say(f"the big study: {big}")
            found = asyncio.run(load(address, chosen.clients, QUICK_SECONDS if chosen.quick else SECONDS))
    found["big_study_ms"] = big
    if chosen.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name}: {value}")


def fill(store: Store) -> None:
    """Store a finished search of many trials, as its controller would have left it."""
    record = store.create(SearchSpec(name=BIG, budget=str(TRIALS)), FACTS)
    mine = store.claim(record.id, "benchmark", 600)
    assert mine is not None
    rng = random.Random(0)
    for start in range(0, TRIALS, BATCH):
        trials = [make_trial(number, rng) for number in range(start, start + BATCH)]
        store.trials.put(mine.id, mine.attempt, map(to_entry, trials))
        progress = {"phase": "search", "done": start + BATCH, "total": TRIALS, "running": 2, "best": 0.9}
        more = {"hypervolume": start / TRIALS, "seconds": float(start), "seconds_left": 1.0, "event": "a trial"}
        event = {"search_id": mine.id, "kind": "progress", "body": {**progress, **more}, "created": float(start)}
        with store._sessions.write() as session:  # one by one each would wait for the disk
            session.execute(insert(EventRow), [event] * BATCH)
    store.release(mine, "done", float(TRIALS))
    store.close()


def make_trial(number: int, rng: random.Random) -> Trial:
    sizes = [rng.choice((1, 2, 4, 8, 16, 32)) for _ in range(12)]
    sites = [(layer, site) for layer in range(6) for site in ("attention.query", "attention.value")]
    placements = tuple(Placement("lora", site, layer, size) for (layer, site), size in zip(sites, sizes, strict=True))
    score = rng.uniform(0.5, 0.9)
    return Trial(
        number=number,
        name="",
        architecture=Architecture(placements, (("learning_rate", rng.uniform(1e-4, 1e-2)),)),
        params=sum(sizes) * 768,
        score=score,
        state="complete",
        reason=None,
        seconds=rng.uniform(1, 5),
        attempts=1,
        steps=96,
        curve=((11, 0.5 * score), (32, 0.8 * score), (96, score)),
    )


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """Run the service as people do, and yield its address."""
    environment = {**os.environ, "AUTOPEFT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    for name in ("AUTOPEFT_DATABASE_URL", "AUTOPEFT_TOKEN", "AUTOPEFT_URL"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "autopeft", "serve", "--port", "0"]
    with (home / "serve.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise SystemExit(f"the service did not start:\n{(home / 'serve.log').read_text()}")
            yield f"{address.rstrip('/')}/api/v1"
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def measure_big(address: str) -> dict[str, float]:
    """Return how many milliseconds each part of the big study's page takes, in the middle of five."""
    with httpx.Client(timeout=60) as client:
        return {name: timed(client, f"{address}/searches/{BIG}{path}") for name, path in PAGE.items()}


def timed(client: httpx.Client, url: str) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        client.get(url).raise_for_status()
        taken.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(taken), 1)


async def load(address: str, clients: int, seconds: float) -> dict[str, object]:
    """Let so many clients ask at once, beside a search that trains."""
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        first = await client.post(f"{address}/searches", json={**REQUEST, "name": "training", "budget": 1000})
        first.raise_for_status()
        while (await client.get(f"{address}/searches/training")).json()["trials"]["complete"] == 0:
            await asyncio.sleep(0.5)
        say(f"a search trains; {clients} clients ask for {seconds:.0f} s")
        end = time.monotonic() + seconds
        reads: list[float] = []
        submits: list[float] = []
        errors: list[str] = []
        asking = [ask(client, address, number, end, reads, submits, errors) for number in range(clients)]
        await asyncio.gather(*asking)
    for error in sorted(set(errors)):
        say(error)
    return {
        "clients": clients,
        "seconds": seconds,
        "requests": len(reads) + len(submits),
        "errors": len(errors),
        "p50_read": quantile(reads, 50),
        "p95_read": quantile(reads, 95),
        "p95_submit": quantile(submits, 95),
    }


async def ask(
    client: httpx.AsyncClient,
    address: str,
    number: int,
    end: float,
    reads: list[float],
    submits: list[float],
    errors: list[str],
) -> None:
    """Send one request after another, as one client."""
    rng = random.Random(number)
    await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE))
    while time.monotonic() < end:
        submitting = rng.random() < SUBMISSIONS
        began = time.perf_counter()
        try:
            if submitting:
                answer = await client.post(f"{address}/searches", json={**REQUEST, "budget": rng.randint(10, 14)})
            else:
                name = rng.choice(("training", "training", BIG))
                path = rng.choice(("searches?limit=50", *(f"searches/{name}{part}" for part in PAGE.values())))
                answer = await client.get(f"{address}/{path}")
            if answer.is_error:
                errors.append(f"{answer.status_code} {answer.text[:200]}")
        except httpx.HTTPError as error:
            errors.append(repr(error))
        (submits if submitting else reads).append(time.perf_counter() - began)
        await asyncio.sleep(rng.uniform(0, LONGEST_PAUSE))


def quantile(values: list[float], percent: int) -> float | None:
    return round(statistics.quantiles(values, n=100)[percent - 1], 4) if len(values) > 1 else None


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
