"""The study of one search: what was tried, and what is to be tried next.

Two Optuna studies stand behind it. The *record* is persistent and holds every trial that was started, baselines
included, with readable parameters and raw parameter counts: it is what the dashboard shows. The *memory* is what the
sampler proposes from (see :mod:`autopeft.memory`).
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from autopeft.architecture import Architecture, Scalar
from autopeft.errors import NoFeasibleArchitecture
from autopeft.memory import Memory, readable
from autopeft.messages import TrialReport
from autopeft.pareto import cost_axis
from autopeft.samplers import SAMPLERS
from autopeft.space import Point, SearchSpace
from autopeft.trial import Trial, is_recorded

# A sampler that proposes known or refused points this often in a row gets help from random points.
PATIENCE = 20
RANDOM_DRAWS = 2000
# How many single changes are tried to bring a random point to a wanted cost.
CHANGES = 200
OUT_OF_REACH = 99.0


@dataclass(frozen=True)
class Proposal:
    """A point that is to be trained; ``memory`` is the sampler's own trial of it."""

    point: Point
    architecture: Architecture
    params: int
    memory: optuna.Trial | None


Admit = Callable[[Architecture], "tuple[Architecture, int] | None"]


class Study:
    """A search's trials, and the sampler that proposes more.

    Args:
        storage: Optuna storage that holds the record.
        name: of the study in it; created if missing.
        space: what points are made of.
        sampler: name of a sampler.
        seed: of the sampler and of random help.
        metric: name of the score, for the dashboard.
        admit: maps a decoded architecture to its normal form and parameters, or None where a cap forbids it.
    """

    def __init__(
        self, storage: BaseStorage, name: str, space: SearchSpace, sampler: str, seed: int, metric: str, admit: Admit
    ) -> None:
        self.space = space
        self._admit = admit
        self._readable = {d.name: readable(d) for d in space.dimensions}
        self._chosen = _Chosen()
        self._storage = storage
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._record = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["minimize", "maximize"],
                sampler=self._chosen,
                load_if_exists=True,
            )
            if self._record.metric_names is None:
                self._record.set_metric_names(["params", metric])
        self._study_id = storage.get_study_id_from_name(name)
        past = self.trials()
        # A resumed sampler has lost its random state: it goes on from a seed of its own, not from its start.
        seed = seed + 1_000_003 * len(past)
        self._random = random.Random(seed)
        self._spread = SAMPLERS.get(sampler).spread
        self._memory = Memory(space, SAMPLERS.get(sampler), seed)
        self._known = {trial.architecture.fingerprint: trial for trial in past}
        self._asked: dict[int, optuna.Trial] = {}
        for frozen in self._recorded():
            self._memory.add(frozen.params, Trial.from_record(frozen))

    def trials(self) -> list[Trial]:
        """Return every trial whose architecture was recorded, by number."""
        return [Trial.from_record(frozen) for frozen in self._recorded()]

    # -- what is to be tried next -------------------------------------------------------------------------------------

    def propose(self) -> Proposal | None:
        """Return a point whose architecture is new and admitted, or None where the space holds no more.

        Raises:
            NoFeasibleArchitecture: neither the sampler nor thousands of random draws met the caps.
        """
        points = len([trial for trial in self._known.values() if not trial.name])
        if points < self._spread:
            spread = self._propose_by_cost(points)
            if spread is not None:
                return spread
        for _ in range(PATIENCE):
            point, memory = self._memory.ask()
            proposal = self._consider(point, memory)
            if proposal is not None:
                return proposal
        return self._propose_at_random()

    def _consider(self, point: Point, memory: optuna.Trial | None = None) -> Proposal | None:
        """Return the point's proposal, or None where it is refused or known; the sampler is told why."""
        decoded = self.space.decode(point)
        admitted = None if decoded is None else self._admit(decoded)
        if admitted is None:
            if memory is not None:
                self._memory.refuse(memory)
            return None
        architecture, params = admitted
        known = self._known.get(architecture.fingerprint)
        if known is not None:
            if memory is not None:
                self._memory.tell(memory, known)
            return None
        return Proposal(point, architecture, params, memory)

    def _propose_by_cost(self, index: int) -> Proposal | None:
        """Return a new point whose cost is near the index's place on the cost axis."""
        lowest, highest = self._cost_range
        target = lowest + _van_der_corput(index) * (highest - lowest)
        for _ in range(PATIENCE):
            proposal = self._consider(self._approach(target))
            if proposal is not None:
                return replace(proposal, memory=self._memory.accept(proposal.point))
        return None

    def _propose_at_random(self) -> Proposal | None:
        admitted_any = False
        for _ in range(RANDOM_DRAWS):
            point, decoded = self.space.sample(self._random)
            proposal = self._consider(point)
            if proposal is not None:
                return replace(proposal, memory=self._memory.accept(point))
            admitted_any = admitted_any or self._admit(decoded) is not None
        if admitted_any or self._known:
            return None
        raise NoFeasibleArchitecture(f"none of {RANDOM_DRAWS} random points of {self.space.name!r} meets the caps")

    @cached_property
    def _cost_range(self) -> tuple[float, float]:
        return self._cost(self._approach(-math.inf)), self._cost(self._approach(math.inf))

    def _approach(self, target: float) -> Point:
        """Return a random valid point, changed in single dimensions as long as that brings its cost to the target."""

        def distance(point: Point) -> float:
            # An infinite target stands for the lowest or highest cost there is.
            cost = self._cost(point)
            if cost == OUT_OF_REACH:
                return math.inf
            return math.copysign(cost, -target) if math.isinf(target) else abs(cost - target)

        point, _ = self.space.sample(self._random)
        least = distance(point)
        for _ in range(CHANGES if self.space.dimensions else 0):
            dimension = self._random.choice(self.space.dimensions)
            changed = {**point, dimension.name: dimension.sample(self._random)}
            if self.space.decode(changed) is not None and (reached := distance(changed)) <= least:
                point, least = changed, reached
        return point

    def _cost(self, point: Point) -> float:
        """Return the point's cost, or :data:`OUT_OF_REACH` where a cap forbids it."""
        decoded = self.space.decode(point)
        admitted = None if decoded is None else self._admit(decoded)
        return OUT_OF_REACH if admitted is None else cost_axis(admitted[1])

    # -- what was tried -----------------------------------------------------------------------------------------------

    def start(self, proposal: Proposal, base_parameters: int) -> Trial:
        """Record a proposal as a running trial."""
        with self._chosen.choosing(proposal.point):
            number = self._record.ask(fixed_distributions=self._readable).number
        if proposal.memory is not None:
            self._asked[number] = proposal.memory
        return self._started(number, "", proposal.architecture, proposal.params, base_parameters)

    def start_baseline(self, name: str, architecture: Architecture, params: int, base_parameters: int) -> Trial:
        """Record a hand-made architecture as a running trial; it is no point of the space."""
        return self._started(self._record.ask().number, name, architecture, params, base_parameters)

    def restart(self, trial: Trial) -> None:
        """Count another start of a trial that was running when its controller or worker was lost."""
        self._set_attribute(trial.number, "attempts", trial.attempts + 1)

    def tell(self, number: int, report: TrialReport, score: float | None) -> Trial:
        """Finish a trial with its report; telling one that is finished already changes nothing."""
        frozen = self._frozen(number)
        if not frozen.state.is_finished():
            self._set_attribute(number, "seconds", round(report.seconds, 3))
            self._set_attribute(number, "device", report.device)
            if score is None:
                self._set_attribute(number, "reason", report.reason or "error")
                self._set_attribute(number, "detail", report.detail[-500:])
                self._record.tell(number, state=TrialState.FAIL)
            else:
                self._record.tell(number, [float(frozen.user_attrs["params"]), score])
        trial = self._know(number)
        memory = self._asked.pop(number, None)
        if memory is not None:
            self._memory.tell(memory, trial)
        return trial

    def drop_unrecorded(self) -> None:
        """Fail the trials that were asked for but whose architecture a crash kept from being recorded."""
        for frozen in self._record.get_trials(deepcopy=False):
            if not frozen.state.is_finished() and not is_recorded(frozen):
                self._set_attribute(frozen.number, "reason", "controller_lost")
                self._record.tell(frozen.number, state=TrialState.FAIL)

    def _started(self, number: int, name: str, architecture: Architecture, params: int, base_parameters: int) -> Trial:
        attributes = {
            "name": name,
            "fingerprint": architecture.fingerprint,
            "params": params,
            "params_percent": round(100 * params / base_parameters, 4),
            "summary": architecture.summary(),
            "attempts": 1,
            # Last: a trial counts as recorded from here on.
            "architecture": architecture.canonical_json(),
        }
        for key, value in attributes.items():
            self._set_attribute(number, key, value)
        return self._know(number)

    def _know(self, number: int) -> Trial:
        trial = Trial.from_record(self._frozen(number))
        self._known[trial.architecture.fingerprint] = trial
        return trial

    def _recorded(self) -> list[FrozenTrial]:
        return [frozen for frozen in self._record.get_trials(deepcopy=False) if is_recorded(frozen)]

    def _set_attribute(self, number: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._identity(number), key, value)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._identity(number))

    def _identity(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


class _Chosen(BaseSampler):
    """Sampler of the record: gives each trial the point that was chosen elsewhere."""

    def __init__(self) -> None:
        self._point: dict[str, Scalar] = {}

    @contextmanager
    def choosing(self, point: Point) -> Iterator[None]:
        self._point = dict(point)
        try:
            yield
        finally:
            self._point = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._point[param_name]


def _van_der_corput(index: int) -> float:
    """Return the index-th number of a sequence whose every beginning fills [0, 1) evenly."""
    value, denominator = 0.0, 1.0
    while index:
        denominator *= 2
        index, bit = divmod(index, 2)
        value += bit / denominator
    return value
