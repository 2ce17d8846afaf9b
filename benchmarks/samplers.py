"""Which sampler finds the front with the fewest evaluations, and with the fewest training steps? Replayed, many seeds.

    python benchmarks/samplers.py --pictures docs/images  tables for docs/results.md, and a picture of each
    python benchmarks/samplers.py --quick --json          one JSON object in a few minutes

Training is replayed from the tables in ``oracle/`` (see oracle.py): what a table does not hold is estimated from it,
with the noise of its runs (see ``autopeft.executors.replay``). A search sees noisy scores; it is measured by the
expected scores of the architectures that it trained to their end, as a share of the hypervolume of the whole space's
front. Head only is given to every search; baselines and confirmation are left out. ``known_cost`` has the experience
of the other tasks' runs (see experience.py), never of the task that it is measured on, or none where that is said.
``optuna-*`` are Optuna's samplers as they are; ``tpe``, ``gp`` and ``nsga2`` begin with points that are spread over
the cost axis; ``syne-tune`` is Syne Tune's MOASHA (see syne_tune_moasha.py). None of them proposes anything twice.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from experience import of_others
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from samplers_chart import draw
from syne_tune_moasha import SYNE_TUNE, syne_tune_trials

from autopeft.architecture import Architecture
from autopeft.base_models import describe_model
from autopeft.evaluation import read_evaluations
from autopeft.executors.replay import Table
from autopeft.messages import Bar, TaskSpec, TrialReport, TrialRequest
from autopeft.pareto import cost_axis, hypervolume, non_dominated
from autopeft.policies import POLICIES
from autopeft.samplers import SAMPLERS, Sampler, pool
from autopeft.samplers.asking import ask_tell
from autopeft.samplers.base import Proposal, Setting
from autopeft.samplers.experience import NONE
from autopeft.samplers.features import Features
from autopeft.space import SearchSpace, load_space
from autopeft.trial import Trial

HERE = Path(__file__).parent / "oracle"
SHARES = (0.90, 0.95, 0.99)
MAIN = 0.95
# Recorded seeds are below this one, so that no search meets a recorded run: all is estimated alike.
FIRST_SEED = 100
# What the picture shows: more would hide one another.
DRAWN = ("known_cost", "known_cost + optimistic", "tpe", "nsga2", "random", "optuna-tpe", "optuna-nsga2", "gp")


@dataclass(frozen=True)
class Arm:
    """A sampler with a policy, how many evaluations a search of it gets, and whether it has experience."""

    sampler: str
    policy: str
    evaluations: int
    experienced: bool = True

    @property
    def name(self) -> str:
        """How it is called in tables."""
        name = self.sampler if self.policy == "none" else f"{self.sampler} + {self.policy}"
        return name if self.experienced else f"{name}, no experience"


@dataclass(frozen=True)
class Course:
    """One search: after every evaluation, the share of the best hypervolume, and the steps in full trainings.

    Attributes:
        asked: what was trained, in order.
    """

    hypervolume: tuple[float, ...]
    steps: tuple[float, ...]
    seconds: float
    asked: tuple[Architecture, ...] = ()

    def until(self, share: float) -> int | None:
        """Return the number of evaluations until a share of the best hypervolume, or None where it was not reached."""
        return next((n for n, reached in enumerate(self.hypervolume, 1) if reached >= share), None)

    def steps_until(self, share: float) -> float | None:
        """Return the steps until a share, in full trainings."""
        found = self.until(share)
        return None if found is None else self.steps[found - 1]


class World:
    """A table, a space, the best that there is in it, and what other tasks teach of it."""

    def __init__(self, path: Path, space: str) -> None:
        self.table = Table(read_evaluations(path))
        self.experience = of_others(self.table.conditions.task.name)
        model = describe_model(self.table.conditions.model)
        self.space: SearchSpace = load_space(space, model.geometry, model.parameters)
        if self.space.cardinality > pool.MOST:
            raise SystemExit(f"{space} is too large to be counted through, so that the best there is cannot be told")
        candidates = pool.Pool(self.space, Features(model.geometry), random.Random(0))
        while not candidates.complete:
            candidates.go_on()
        whole = candidates.candidates(())
        scores = self.table.expected_of(whole.x)[:, -1]
        self.head = self.expected(Architecture())
        self.base_parameters = model.parameters
        self.reference = (cost_axis(model.parameters), self.head)
        points = list(zip(whole.costs.tolist(), scores.tolist(), strict=True))
        self.best = hypervolume([points[index] for index in non_dominated(points)], self.reference)

    def expected(self, architecture: Architecture) -> float:
        """Return the score that the architecture has on average."""
        return float(self.table.expected(architecture)[-1])

    def request(self, architecture: Architecture, seed: int) -> TrialRequest:
        """Return the request for a run that the table answers."""
        conditions = self.table.conditions
        return TrialRequest(
            key="",
            model=conditions.model,
            task=TaskSpec(name=conditions.task.name),
            architecture=architecture.to_dict(),
            fidelity=conditions.fidelity,
            seed=seed,
        )

    def search(self, arm: Arm, seed: int) -> Course:
        """Run one search, trial by trial."""
        began = time.monotonic()
        # As in a process of its own, which has counted nothing of the space so far; in an order of its own as well, by
        # which the first points differ.
        pool.ORDER_SEED = seed
        pool._COUNTED.clear()
        true, spent, shares, steps = list[tuple[float, float]](), 0.0, list[float](), list[float]()
        asked = list[Architecture]()
        for trial in itertools.islice(self.trials(arm, seed), arm.evaluations):
            asked.append(trial.architecture)
            spent += trial.share
            if trial.score is not None:
                true.append((cost_axis(trial.params), self.expected(trial.architecture)))
            shares.append(hypervolume(true, self.reference) / self.best)
            steps.append(spent)
        return Course(tuple(shares), tuple(steps), time.monotonic() - began, tuple(asked))

    def trials(self, arm: Arm, seed: int) -> Iterator[Trial]:
        """Yield an arm's trials as they end."""
        if arm.sampler == SYNE_TUNE:
            yield from syne_tune_trials(self.space, self.run, seed)
            return
        setting = Setting(
            self.space,
            seed,
            lambda a: (a, self.space.params(a)),
            experience=self.experience if arm.experienced else NONE,
            trials=arm.evaluations,
        )
        chooser, policy = sampler(arm.sampler).choose(setting), POLICIES.get(arm.policy)
        trials = [self.run(0, Architecture(), 0, seed)]
        chooser.see(trials[0], None)
        while (step := chooser.propose()) is not None:
            assert isinstance(step, Proposal)
            chooser.see(_trial(len(trials), step.architecture, step.params, None), step.token)
            bars = policy.bars(step.params, self.table.conditions.fidelity, trials)
            trials.append(self.run(len(trials), step.architecture, step.params, seed, bars))
            chooser.see(trials[-1], step.token)
            yield trials[-1]

    def run(self, number: int, architecture: Architecture, params: int, seed: int, bars: Sequence[Bar] = ()) -> Trial:
        """Return a trial of a search's seed as the table has it, cut by its bars."""
        request = self.request(architecture, FIRST_SEED + seed).model_copy(update={"bars": tuple(bars)})
        return _trial(number, architecture, params, self.table.report(request))


def sampler(name: str) -> Sampler:
    return SAMPLERS.get(name) if name in SAMPLERS.names else OPTUNA[name]


def _stock(create: Callable[[int], BaseSampler]) -> Sampler:
    return ask_tell(summary="", source="", create=lambda space, seed: create(seed))


OPTUNA = {
    "optuna-tpe": _stock(lambda seed: TPESampler(seed=seed)),
    "optuna-nsga2": _stock(lambda seed: NSGAIISampler(seed=seed)),
    "optuna-gp": _stock(lambda seed: GPSampler(seed=seed)),
}


def _trial(number: int, architecture: Architecture, params: int, report: TrialReport | None) -> Trial:
    state = "running" if report is None else report.state
    return Trial(
        number=number,
        name="" if architecture.placements else "head only",
        architecture=architecture,
        params=params,
        score=report.scores["holdout"] if report is not None and state == "complete" else None,
        state=state,
        reason=None,
        seconds=0.0,
        attempts=1,
        steps=0 if report is None else report.steps,
        curve=() if report is None else report.curve,
    )


@functools.cache
def world_of(path: Path, space: str) -> World:
    """Return a process's only world of a table and a space."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return World(path, space)


def _search(job: tuple[Path, str, Arm, int]) -> Course:
    path, space, arm, seed = job
    return world_of(path, space).search(arm, seed)


def run(path: Path, space: str, arms: Sequence[Arm], seeds: int, processes: int) -> dict[Arm, list[Course]]:
    """Run every arm at every seed, seed by seed, so that a machine's moods fall on all arms alike."""
    jobs = [(path, space, arm, seed) for seed in range(seeds) for arm in arms]
    found: dict[Arm, list[Course]] = {arm: [] for arm in arms}
    with ProcessPoolExecutor(processes) as executor:
        for (_, _, arm, seed), course in zip(jobs, executor.map(_search, jobs), strict=True):
            found[arm].append(course)
            done = f"{path.name} {space} {arm.name}, seed {seed}: {course.hypervolume[-1]:.3f} after"
            print(f"{done} {len(course.steps)} evaluations in {course.seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def median_until(courses: Sequence[Course], share: float, steps: bool = False) -> float:
    """Return the median over seeds of what it took to reach a share; infinite where half of them did not."""
    took = [course.steps_until(share) if steps else course.until(share) for course in courses]
    return statistics.median(float("inf") if one is None else float(one) for one in took)


def summary(found: dict[Arm, list[Course]]) -> dict[str, Any]:
    """Return the ratios, and every arm's medians. An arm that half of the time did not get there counts as its end."""
    plain = {arm: courses for arm, courses in found.items() if arm.policy == "none"}
    own = {(arm.sampler, arm.policy): courses for arm, courses in found.items() if arm.experienced}

    def evaluations(courses: Sequence[Course]) -> float:
        return min(median_until(courses, MAIN), len(courses[0].steps))

    best_peer = min((a for a in plain if a.sampler != "known_cost"), key=lambda arm: evaluations(plain[arm]))
    peer = evaluations(plain[best_peer])
    mine, pruned = own["known_cost", "none"], own["known_cost", "optimistic"]
    n = min(len(mine[0].steps), len(pruned[0].steps))
    whole, part = (statistics.fmean(c.hypervolume[n - 1] for c in courses) for courses in (mine, pruned))
    return {
        "evaluations_ratio": _ratio(peer, median_until(mine, MAIN)),
        "steps_ratio": _ratio(peer, median_until(pruned, MAIN, steps=True)),
        "hypervolume_loss": round(1 - part / whole, 4),
        "best_peer": best_peer.name,
        "by_sampler": _by_sampler(found),
    }


def _by_sampler(found: dict[Arm, list[Course]]) -> dict[str, Any]:
    return {arm.name: _row(courses) for arm, courses in found.items()}


def _ratio(peer: float, own: float) -> float | None:
    """Return how many times as much the peer took; None where ours did not get there in half of its searches."""
    return None if np.isinf(own) else round(peer / own, 2)


def _row(courses: Sequence[Course]) -> dict[str, Any]:
    last = [course.hypervolume[-1] for course in courses]
    return {
        **{f"evaluations_to_{share:.0%}": _finite(median_until(courses, share)) for share in SHARES},
        **{f"steps_to_{share:.0%}": _finite(median_until(courses, share, steps=True)) for share in SHARES},
        "evaluations": len(courses[0].steps),
        "steps": round(statistics.fmean(course.steps[-1] for course in courses), 1),
        "hypervolume": round(statistics.fmean(last), 4),
        "deviation": round(statistics.stdev(last), 4) if len(last) > 1 else None,
        "seconds_per_ask": round(statistics.fmean(c.seconds / len(c.steps) for c in courses), 3),
    }


def _finite(number: float) -> float | None:
    return None if np.isinf(number) else round(number, 2)


def arms(peers: int, own: int, quick: bool) -> list[Arm]:
    """Return what is compared; a peer gets more evaluations, so that it gets there too."""
    names = ["tpe", "nsga2", "random", "optuna-tpe", "optuna-nsga2"]
    names += [] if quick else ["gp", "optuna-gp"]  # seconds an ask
    found = [Arm("known_cost", policy, own) for policy in ("none", "optimistic")]
    found += [Arm(name, "none", peers) for name in names]
    found.append(Arm("random", "one_epoch", peers))
    if not quick:
        found += [Arm("known_cost", policy, own, experienced=False) for policy in ("none", "optimistic")]
        found += [Arm("known_cost", "one_epoch", own), Arm("known_cost", "moasha", own)]
        found += [Arm("tpe", "optimistic", peers), Arm("random", "moasha", peers), Arm("random", "optimistic", peers)]
        # What is not installed is left out; Syne Tune's rule stops most of what is drawn.
        found += [Arm(SYNE_TUNE, "moasha", 3 * peers)] if find_spec("syne_tune") else []
        found += [Arm("saasbo", "none", own)] if find_spec("numpyro") else []  # a quarter of a minute an ask
    return found


def table(found: dict[Arm, list[Course]]) -> str:
    """Return the medians as a table."""
    heads = [f"{what} to {share:.0%}" for what in ("evaluations", "trainings") for share in SHARES]
    lines = [
        f"| sampler and policy | {' | '.join(heads)} | hypervolume at the end | s an ask |",
        "| --- | " + "--- | " * (len(heads) + 2),
    ]
    for arm, courses in found.items():
        row = _row(courses)
        cells = [row[f"{what}_to_{share:.0%}"] for what in ("evaluations", "steps") for share in SHARES]
        shown = " | ".join("-" if cell is None else f"{cell:g}" for cell in cells)
        end = f"{row['hypervolume']:.3f} ± {row['deviation'] or 0:.3f} ({row['evaluations']})"
        lines.append(f"| {arm.name} | {shown} | {end} | {row['seconds_per_ask']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one table, few seeds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--tables", nargs="*", type=Path, default=sorted(HERE.glob("*.jsonl.gz")))
    parser.add_argument("--space", default="autopeft")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="ARM", help="only these, by their names in the table; no ratios")
    parser.add_argument("--evaluations", type=int, help="so many for every arm")
    parser.add_argument("--pictures", type=Path, default=None, help="folder for a picture of every table")
    given = parser.parse_args()
    seeds = given.seeds or (4 if given.quick else 20)
    tables = given.tables[-1:] if given.quick else given.tables
    summaries = {}
    for path in tables:
        compared = arms(peers=100 if given.quick else 150, own=50 if given.quick else 100, quick=given.quick)
        if given.evaluations:
            compared = [replace(arm, evaluations=given.evaluations) for arm in compared]
        if given.only:
            compared = [arm for arm in compared if arm.name in given.only]
            if len(compared) < len(set(given.only)):
                parser.error(
                    f"--only {given.only}: of these, {[arm.name for arm in compared]} are there and installed"
                )
        found = run(path, given.space, compared, seeds, given.processes)
        name = path.name.split(".")[0]
        summaries[name] = {"by_sampler": _by_sampler(found)} if given.only else summary(found)
        if given.pictures is not None:
            curves = {arm.name: [(course.steps, course.hypervolume) for course in found[arm]] for arm in found}
            drawn = {arm: curves[arm] for arm in DRAWN if arm in curves}
            title = f"{name}, {given.space}: {seeds} searches of each, median and quartiles"
            draw(drawn, MAIN, title, given.pictures / f"samplers-{name}.png")
        if not given.json:
            print(f"\n### {name}, {given.space}\n\n{table(found)}\n")
            told = {k: v for k, v in summaries[name].items() if k != "by_sampler"}
            print(json.dumps(told) if told else "", flush=True)
    if given.json:
        print(json.dumps(next(iter(summaries.values())) if len(summaries) == 1 else summaries))


if __name__ == "__main__":
    main()
