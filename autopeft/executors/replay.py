"""Replays recorded runs in place of training: samplers and policies are tried out in seconds.

A table rarely holds the very architecture that is asked for. What it does not hold is estimated from what it does: the
score at every rung by extremely randomised trees (Geurts et al. 2006) on the architecture's features, and around that
the noise of a run, drawn from how far recorded runs of one architecture of about that cost lie apart, all rungs
together. Trees, because no sampler here models scores by trees: an estimate by a Gaussian process would flatter those
that do.

A recorded run's luck is no merit of its architecture. Where noise explains how far its score is from what the trees of
the other architectures say, these are followed (a universal hard threshold: Donoho and Johnstone 1994). Else the best
of a table would be its luckiest runs, of which no model can learn.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_predict

from autopeft.architecture import Architecture
from autopeft.base_models import describe_model
from autopeft.errors import InvalidInput, Problem
from autopeft.evaluation import Evaluation, read_evaluations
from autopeft.executors.base import Executor, ExecutorKind, ExecutorOptions
from autopeft.messages import TrialReport, TrialRequest
from autopeft.modules.plan import price
from autopeft.pareto import cost_axis
from autopeft.samplers.features import Features

TREES = 100
# Runs that a leaf holds at least: on the recorded tables, one predicts runs left out better than two or three.
LEAF = 1
SEED = 0
# Architectures with several recorded runs, the nearest in cost, whose noise is drawn from: large ones are less stable.
NEAREST = 8
# Parts of the table, each of which is estimated from the others.
PARTS = 5


class Table:
    """Recorded runs of one model, task and fidelity, and estimates of all others.

    Args:
        evaluations: complete runs; others are passed over.

    Raises:
        InvalidInput: there is no complete run, or the runs do not compare.
    """

    def __init__(self, evaluations: Iterable[Evaluation]) -> None:
        complete = [one for one in evaluations if one.report.state == "complete"]
        if not complete:
            raise InvalidInput(Problem("table", "no complete run", "record some, as benchmarks/oracle.py does"))
        first = complete[0]
        for one in complete:
            if one.conditions.key != first.conditions.key or one.report.steps != first.report.steps:
                remedy = "its runs differ in model, data, fidelity or steps; export those of one search"
                raise InvalidInput(Problem("table", one.decoded.summary(), remedy))
        self.conditions = first.conditions
        self.geometry = describe_model(self.conditions.model).geometry
        self._features = Features(self.geometry)
        self._steps = [step for step, _ in first.report.curve]
        self._seconds = sum(one.report.seconds for one in complete) / len(complete)
        self._template = first.report
        self._runs: dict[str, dict[int, TrialReport]] = defaultdict(dict)
        self.architectures: dict[str, Architecture] = {}
        self._expected: dict[str, np.ndarray] = {}
        for one in complete:
            self._runs[one.decoded.fingerprint][one.seed] = one.report
            self.architectures[one.decoded.fingerprint] = one.decoded

    def report(self, request: TrialRequest) -> TrialReport:
        """Return the recorded run of the request's architecture and seed, else an estimated one, cut by its bars."""
        architecture = request.decoded
        recorded = self._runs.get(architecture.fingerprint, {}).get(request.seed)
        whole = (recorded or self._estimate(architecture, request.seed)).model_copy(update={"key": request.key})
        part = whole.held_to(request.bars)
        if part is None:
            rungs = ", ".join(f"{bar.share:.2f}" for bar in request.bars)
            return TrialReport.failure(request.key, "error", f"the table has no score at one of the rungs {rungs}")
        if part.state == "complete":
            return part.model_copy(update={"scores": dict.fromkeys(request.parts, part.scores["holdout"])})
        return part

    def expected(self, architecture: Architecture) -> np.ndarray:
        """Return an architecture's estimated scores at every rung, without noise, of shape ``(rungs,)``."""
        known = architecture.fingerprint
        if known not in self._expected:
            self._expected[known] = self.expected_of(self._features.of_all([architecture]))[0]
        return self._expected[known]

    def expected_of(self, x: np.ndarray) -> np.ndarray:
        """Return the same for many: from features ``(architectures, features)`` to ``(architectures, rungs)``."""
        return np.asarray(self._forest.predict(x)).reshape(len(x), len(self._steps))

    @cached_property
    def noise(self) -> list[tuple[float, np.ndarray]]:
        """Of each architecture with several runs its cost, and their deviations from its mean: ``(runs, rungs)``."""
        found = []
        for runs in self._runs.values():
            if len(runs) > 1:
                curves = np.array([_scores(report) for report in runs.values()])
                found.append((_cost(runs), (curves - curves.mean(0)) * math.sqrt(len(runs) / (len(runs) - 1))))
        return found

    @cached_property
    def _forest(self) -> ExtraTreesRegressor:
        x = self._features.of_all(self.architectures.values())
        y = np.array([np.mean([_scores(report) for report in runs.values()], axis=0) for runs in self._runs.values()])
        y = y if y.shape[1] > 1 else y[:, 0]  # as scikit-learn wants it
        weights = np.array([len(runs) for runs in self._runs.values()])
        forest = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=0.5, random_state=SEED)
        if self.noise and len(x) >= PARTS:
            parts = KFold(PARTS, shuffle=True, random_state=SEED)
            told = cross_val_predict(forest, x, y, cv=parts, params={"sample_weight": weights})
            largest = math.sqrt(2 * math.log(len(x)))  # deviations that one of so many is off by luck alone
            luck = largest * self._deviations / np.sqrt(weights)[:, None]
            y = np.where(np.abs(y - told) <= luck.reshape(y.shape), told, y)
        return forest.fit(x, y, sample_weight=weights)

    @property
    def _deviations(self) -> np.ndarray:
        """Of each architecture the deviation of a run at every rung, of shape ``(architectures, rungs)``."""
        return np.array([np.sqrt(np.mean(self._near(_cost(runs)) ** 2, axis=0)) for runs in self._runs.values()])

    def _near(self, cost: float) -> np.ndarray:
        """Return the deviations of runs of about a cost, of shape ``(runs, rungs)``."""
        near = sorted(self.noise, key=lambda one: abs(one[0] - cost))[:NEAREST]
        return np.concatenate([deviations for _, deviations in near])

    def _estimate(self, architecture: Architecture, seed: int) -> TrialReport:
        params = sum(price(placement, self.geometry) for placement in architecture.placements)
        scores = [float(score) for score in self.expected(architecture) + self._drawn(architecture, params, seed)]
        best = int(np.argmax(scores))
        return self._template.model_copy(
            update={
                "params": params,
                "curve": tuple(zip(self._steps, scores, strict=True)),
                "best_step": self._steps[best],
                "scores": {"holdout": scores[best]},
                "metrics": {"holdout": {self.conditions.metric: scores[best]}},
                "seconds": self._seconds,
            }
        )

    def _drawn(self, architecture: Architecture, params: int, seed: int) -> np.ndarray:
        """Return the noise of one run at every rung, the same for the same architecture and seed."""
        if not self.noise:
            return np.zeros(len(self._steps))
        rng = random.Random(int(hashlib.sha256(f"{architecture.fingerprint} {seed}".encode()).hexdigest(), 16))
        return np.asarray(rng.choice(self._near(cost_axis(params))))


def _cost(runs: Mapping[int, TrialReport]) -> float:
    return cost_axis(next(iter(runs.values())).params)


def _scores(report: TrialReport) -> list[float]:
    return [score for _, score in report.curve]


class ReplayExecutor:
    """As many slots as workers, and no GPU; every answer is there at once, oldest first."""

    gpus = 0.0

    def __init__(self, table: Table, slots: int) -> None:
        self.slots = slots
        self._table = table
        self._waiting: deque[TrialRequest] = deque()

    def submit(self, request: TrialRequest) -> None:
        """Queue a request."""
        self._waiting.append(request)

    def wait(self, timeout: float) -> list[TrialReport]:
        """Return the report of the oldest request."""
        return [self._table.report(self._waiting.popleft())] if self._waiting else []

    def close(self) -> None:
        """Forget what was not answered."""
        self._waiting.clear()


def _read(table: str | None) -> Table:
    if table is None:
        remedy = "the executor 'replay' needs one: --table FILE, as `autopeft evaluations --out` writes"
        raise InvalidInput(Problem("table", None, remedy))
    return Table(read_evaluations(Path(table)))


def _start(options: ExecutorOptions) -> Executor:
    return ReplayExecutor(_read(options.table), options.workers)


def _check(table: str | None) -> Iterator[Problem]:
    try:
        _read(table)
    except InvalidInput as error:
        yield from error.problems


EXECUTOR = ExecutorKind(
    summary="no training: recorded runs of a table, and estimates from them", start=_start, check=_check
)
