"""What is a front worth once it is confirmed? Recorded runs replayed, by how many runners-up are confirmed with it.

    python benchmarks/confirmation.py [--seeds 20] [--tables TABLE ...]

A search of 40 trials sees noisy scores, and confirms at three seeds what it takes for its front, and the trials that
are nearest to it (see ``autopeft.controller.shortlist``). Both are replayed (see samplers.py), confirmation with the
noise of the recorded runs at their end, at other seeds than the search's. The front that this leaves is measured by
the expected scores of what is on it, as a share of the hypervolume of the whole space's front. *At best* is that of
all trials: what a confirmation of everything, without noise, would leave. Baselines are left out.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from samplers import HERE, Arm, World, world_of

from autopeft.answer import Answer, make_answer
from autopeft.controller.shortlist import candidates, missing
from autopeft.messages import TrialReport
from autopeft.pareto import cost_axis, hypervolume
from autopeft.trial import Trial

TRIALS, SEEDS = 40, 3
RUNNERS_UP = (0, 4, 8, 16)
SAMPLERS = ("known_cost", "tpe")
# Above those of the searches.
FIRST_SEED = 1000
Found = dict[str, tuple[float, int]]


def confirm(world: World, trials: Sequence[Trial], runners_up: int, seed: int) -> tuple[Answer, int]:
    """Return the answer after confirmation, and how many runs that took."""
    chosen = candidates(trials, runners_up)
    reports: dict[tuple[str, int], TrialReport] = {}
    while True:
        answer = make_answer(
            search="",
            name="",
            state="running",
            facts={"base_parameters": world.base_parameters, "metric": "accuracy"},
            trials=trials,
            confirmations=reports,
        )
        wanted = missing(chosen, answer, SEEDS)
        if not wanted:
            return answer, len(reports)
        trial, number = wanted[0]
        run = world.run(trial.number, trial.architecture, trial.params, FIRST_SEED + SEEDS * seed + number)
        report = TrialReport(key="", state="complete", scores={"validation": run.score})
        reports[trial.architecture.fingerprint, number] = report


def measure(job: tuple[Path, str, int]) -> Found:
    """Return, by what is confirmed, the share of the best hypervolume and the number of runs."""
    path, sampler, seed = job
    world = world_of(path, "autopeft")
    trials = list(itertools.islice(world.trials(Arm(sampler, "none", TRIALS), seed), TRIALS))
    found = {"at best": (_share(world, trials), SEEDS * TRIALS)}
    for runners_up in RUNNERS_UP:
        answer, runs = confirm(world, trials, runners_up, seed)
        on_front = {row.trial for row in answer.front}
        found[f"{runners_up} runners-up"] = (_share(world, [t for t in trials if t.number in on_front]), runs)
    return found


def _share(world: World, trials: Sequence[Trial]) -> float:
    points = [(cost_axis(trial.params), world.expected(trial.architecture)) for trial in trials]
    return hypervolume(points, world.reference) / world.best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tables", nargs="*", type=Path, default=sorted(HERE.glob("*.jsonl.gz")))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    jobs = [(path, sampler, seed) for path in given.tables for sampler in SAMPLERS for seed in range(given.seeds)]
    found: dict[tuple[str, str], list[Found]] = defaultdict(list)
    with ProcessPoolExecutor(given.processes) as pool:
        for (path, sampler, _), one in zip(jobs, pool.map(measure, jobs), strict=True):
            found[path.name.split(".")[0], sampler].append(one)
    print("| task | sampler | confirmed | share of the best hypervolume | runs |\n" + "| --- " * 5 + "|")
    for (task, sampler), searches in found.items():
        for what in searches[0]:
            shares, runs = zip(*(one[what] for one in searches), strict=True)
            spread = f"{statistics.fmean(shares):.3f} ± {statistics.stdev(shares):.3f}"
            print(f"| {task} | {sampler} | {what} | {spread} | {statistics.fmean(runs):.1f} |", flush=True)


if __name__ == "__main__":
    main()
