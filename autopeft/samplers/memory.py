"""The study that a sampler proposes from: in memory, and of points of the space alone.

Samplers need every trial with every parameter, ordered choices by their position, and the cost on its log axis. The
memory also holds the points that were refused or known already, which never become trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from autopeft.pareto import cost_axis
from autopeft.space import Choice, Dimension, Integers, Point, SearchSpace
from autopeft.trial import Trial


class Memory:
    """A sampler and what it knows.

    Args:
        space: what points are made of.
        sampler: who proposes.
        objectives: what is minimised beside the parameters.
    """

    def __init__(self, space: SearchSpace, sampler: BaseSampler, objectives: Sequence[str] = ()) -> None:
        self._space = space
        self._distributions = {d.name: _sampled(d) for d in space.dimensions}
        self._objectives = objectives
        self._study = optuna.create_study(directions=directions(objectives), sampler=sampler)

    def ask(self) -> tuple[Point, optuna.Trial]:
        """Return the sampler's next point, and the trial by which it is told what became of it."""
        trial = self._study.ask(fixed_distributions=self._distributions)
        return self._to_point(trial.params), trial

    def accept(self, point: Point) -> optuna.Trial:
        """Take in a point that the sampler did not propose, so that it learns from it."""
        self._study.enqueue_trial(self._from_point(point))
        return self._study.ask(fixed_distributions=self._distributions)

    def refuse(self, trial: optuna.Trial) -> None:
        """Tell the sampler that its point breaks a cap or decodes to nothing."""
        trial.set_constraint("admitted", 1.0)
        self._study.tell(trial, state=TrialState.PRUNED)

    def tell(self, memory: optuna.Trial, trial: Trial) -> None:
        """Tell the sampler what its point came to, or that it is being trained already."""
        if trial.score is not None:
            self._study.tell(memory, self._values(trial, trial.score))
        else:
            self._study.tell(memory, state=TrialState.FAIL if trial.state == "failed" else TrialState.PRUNED)

    def add(self, point: Point, trial: Trial) -> None:
        """Add a finished trial of an earlier run of the search."""
        if trial.score is None or point.keys() != self._distributions.keys():
            return
        values = self._values(trial, trial.score)
        params = self._from_point(point)
        self._study.add_trial(
            optuna.trial.create_trial(params=params, distributions=self._distributions, values=values)
        )

    def _values(self, trial: Trial, score: float) -> list[float]:
        return [cost_axis(trial.params), score, *(trial.measures[name] for name in self._objectives)]

    def _to_point(self, params: Mapping[str, Any]) -> Point:
        dimensions = self._space.dimensions
        return {d.name: d.choices[params[d.name]] if _by_position(d) else params[d.name] for d in dimensions}

    def _from_point(self, point: Point) -> dict[str, Any]:
        dimensions = self._space.dimensions
        return {d.name: d.choices.index(point[d.name]) if _by_position(d) else point[d.name] for d in dimensions}


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """Return Optuna's directions: of the parameters, the score, and what else is minimised."""
    return [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in objectives)]


def readable(dimension: Dimension) -> BaseDistribution:
    """Return the distribution of a dimension's values as they are."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Integers):
        return IntDistribution(dimension.low, dimension.high, log=True)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _sampled(dimension: Dimension) -> BaseDistribution:
    return IntDistribution(0, len(dimension.choices) - 1) if _by_position(dimension) else readable(dimension)


def _by_position(dimension: Dimension) -> TypeGuard[Choice]:
    return isinstance(dimension, Choice) and dimension.ordered
