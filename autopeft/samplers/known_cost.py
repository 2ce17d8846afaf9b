"""Known cost: a model of the score alone, and the exact gain of every candidate at its known cost.

Trainable parameters are known before training, so only the score is modelled, by a Gaussian process on features of the
architecture. The next point is the one of the largest expected hypervolume improvement
(:mod:`autopeft.samplers.improvement`) over the front that the model's own means make: a lucky run does not raise the
bar. A run that was stopped early counts as what it would have come to, with the doubt that is in that. What still runs
is taken to come out as predicted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autopeft.extrapolation import Extrapolation
from autopeft.pareto import cost_axis, non_dominated
from autopeft.samplers.base import Proposal, Sampler, Setting
from autopeft.samplers.drawing import draw_at_random, first_new
from autopeft.samplers.features import Features
from autopeft.samplers.improvement import expected_improvement
from autopeft.samplers.pool import Pool
from autopeft.samplers.spread import Spread
from autopeft.samplers.surrogate import Surrogate
from autopeft.space import Point
from autopeft.trial import Trial
from autopeft.warp import Floats

# First points, spread over the cost axis, which the model is first fitted to.
SPREAD = 8
# Each is the most promising of so many that are drawn near its place, and of so many candidates that are this close to
# it on the cost axis, 12 % of the parameters. Where more are, searches of other seeds look at others.
PATIENCE, CANDIDATES, CLOSE = 20, 200, 0.05
# How many of the best candidates are looked at for one that is new and admitted.
LOOKS = 2000


@dataclass(frozen=True)
class Observation:
    """What a trial says of its architecture's score.

    Attributes:
        doubt: deviation of the score beyond a run's own noise: of the extrapolation, where the run was stopped early.
    """

    trial: Trial
    score: float
    doubt: float = 0.0


class KnownCost:
    """The chooser of one search."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._random = random.Random(setting.seed + 1_000_003 * len(setting.past))
        self._first = Spread(setting, self._random)
        self._features = Features(setting.space.geometry)
        self._pool = Pool(setting.space, self._features, self._random)
        self._known: dict[str, Trial] = {}
        self._points: dict[str, Point] = {}
        self._earlier = list(setting.earlier)
        for trial, point in setting.past:
            self._known[trial.architecture.fingerprint] = trial
            if point:
                self._points[trial.architecture.fingerprint] = point

    def propose(self) -> Proposal | None:
        """Return a new point, or None where the space holds no more.

        Raises:
            NoFeasibleArchitecture: nothing that was looked at meets the caps.
        """
        self._pool.go_on()
        index = len(self._points)
        first = self._spread(index) if index + len(self._earlier) < SPREAD else None
        return first or self._best() or self._any()

    def see(self, trial: Trial, token: Any) -> None:
        """Take note of a trial."""
        self._known[trial.architecture.fingerprint] = trial

    def _spread(self, index: int) -> Proposal | None:
        """Return the most promising new point whose cost is near the index's place on the cost axis."""
        drawn = [self._first.near(index) for _ in range(PATIENCE)]
        table = self._pool.candidates(())
        close = np.flatnonzero(np.abs(table.costs - self._first.place(index)) <= CLOSE).tolist()
        close = self._random.sample(close, min(CANDIDATES, len(close)))
        x = np.vstack([self._features.of_all([architecture for _, architecture in drawn]), table.x[close]])
        best_first = np.argsort(-self._expect(x), kind="stable").tolist()
        points = (drawn[row][0] if row < PATIENCE else table.point(close[row - PATIENCE]) for row in best_first)
        return first_new(points, self._consider)

    def _best(self) -> Proposal | None:
        """Return the new candidate of the largest expected improvement; None before there is anything to model."""
        seen = list(_observe([*self._known.values(), *self._earlier]))
        if len({one.score for one in seen}) < 2:
            return None
        model = self._fit(seen)
        running = [trial for trial in self._known.values() if trial.state == "running"]
        model = model.believe(self._rows(running))
        there = [trial for trial in self._known.values() if trial.state != "failed"]
        levels, _ = model.predict(self._rows(there))
        points = [(cost_axis(trial.params), float(level)) for trial, level in zip(there, levels, strict=True)]
        front = [there[index].architecture.fingerprint for index in non_dominated(points)]
        table = self._pool.candidates([self._points[known] for known in front if known in self._points])
        mean, deviation = model.predict(table.x)
        least = min([*(one.score for one in seen), *(level for _, level in points)])
        gain = expected_improvement(table.costs, mean, deviation, points, (self._largest(table.costs), least))
        if self._setting.cap is not None:
            gain[table.costs > cost_axis(self._setting.cap)] = -np.inf
        best_first = np.argsort(-gain, kind="stable")[:LOOKS].tolist()
        return first_new(map(table.point, best_first), self._consider)

    def _fit(self, seen: Sequence[Observation]) -> Surrogate:
        scores, doubts = (np.array([getattr(one, what) for one in seen]) for what in ("score", "doubt"))
        return Surrogate.fit(self._rows([one.trial for one in seen]), scores, doubts, self._expect)

    def _expect(self, x: Floats) -> Floats:
        return self._setting.experience.expect(self._setting.space.geometry, x)

    def _largest(self, costs: Floats) -> float:
        """Return the largest cost that counts: full fine-tuning's, or where it is not known that of the candidates."""
        whole = self._setting.space.base_parameters
        return float(costs.max(initial=0.0)) if whole is None else cost_axis(whole)

    def _rows(self, trials: Sequence[Trial]) -> Floats:
        return self._features.of_all([trial.architecture for trial in trials])

    def _any(self) -> Proposal | None:
        return draw_at_random(self._setting.space, self._random, self._consider, self._known)

    def _consider(self, point: Point) -> Proposal | None:
        """Return the point's proposal, or None where it is refused or known."""
        admitted = self._setting.admitted(point)
        if admitted is None or admitted[0].fingerprint in self._known:
            return None
        self._points[admitted[0].fingerprint] = point
        return Proposal(point, *admitted)


def _observe(trials: Sequence[Trial]) -> Iterator[Observation]:
    """Yield what the trials say; one that was stopped before anything can be learned of its rung says nothing."""
    learned: dict[float, Extrapolation | None] = {}
    for trial in trials:
        if trial.score is not None:
            yield Observation(trial, trial.score)
        elif trial.state == "pruned" and trial.curve:
            if trial.share not in learned:
                learned[trial.share] = Extrapolation.fit(trials, trial.share)
            found = learned[trial.share]
            if found is not None:
                yield Observation(trial, *found.final(trial.curve[-1][1], cost_axis(trial.params)))


SAMPLER = Sampler(
    summary="a Gaussian process of the score, and the exact gain of every candidate at its known cost",
    source="after Olofsson et al. 2019, IEEE TBME 66",
    choose=KnownCost,
    spread=SPREAD,
)
