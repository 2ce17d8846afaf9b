"""The study of one search: Optuna's storage is the record, and a sampler proposes from a copy of it in memory.

Two Optuna studies stand behind it. The *record* is persistent and holds every trial that was started, baselines
included, with readable parameters and raw parameter counts: it is what the dashboard shows. The *memory* holds points
of the space alone, as samplers need them (every trial with every parameter, ordered choices by their position, cost on
its log axis), and also the points that were refused or known already, which never become trials.
"""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeGuard

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from autopeft.architecture import Architecture, Scalar
from autopeft.database import create_folder, engine_options, protect
from autopeft.errors import NoFeasibleArchitecture
from autopeft.messages import TrialReport
from autopeft.pareto import cost_axis
from autopeft.samplers import SAMPLERS
from autopeft.space import Choice, Dimension, Point, SearchSpace

# A sampler that proposes known or refused points this often in a row gets help from random points.
PATIENCE = 20
RANDOM_DRAWS = 2000
# How many single changes are tried to bring a random point to a wanted cost.
CHANGES = 200
OUT_OF_REACH = 99.0


@dataclass(frozen=True)
class Trial:
    """One trial of the record.

    Attributes:
        number: Optuna's, from 0.
        name: of a baseline; empty for a point of the space.
        params: trainable PEFT parameters.
        score: held-out score of the proxy run; None until told, and where the run failed.
        state: ``running``, ``complete`` or ``failed``; a failed trial has a reason.
        attempts: how often the run was started.
    """

    number: int
    name: str
    architecture: Architecture
    params: int
    score: float | None
    state: str
    reason: str | None
    seconds: float
    attempts: int

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as JSON values."""
        return {
            "trial": self.number,
            "name": self.name or self.architecture.summary(),
            "state": self.state,
            "reason": self.reason,
            "params": self.params,
            "score": self.score,
            "seconds": self.seconds,
            "fingerprint": self.architecture.fingerprint,
            "architecture": self.architecture.to_dict(),
        }


@dataclass(frozen=True)
class Proposal:
    """A point that is to be trained; ``memory`` is the sampler's own trial, where the sampler proposed it."""

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
        self._readable = {d.name: _readable(d) for d in space.dimensions}
        self._sampled = {d.name: _sampled(d) for d in space.dimensions}
        self._chosen = _Chosen()
        with _no_experimental_warnings():
            self._record = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["minimize", "maximize"],
                sampler=self._chosen,
                load_if_exists=True,
            )
            if self._record.metric_names is None:
                self._record.set_metric_names(["params", metric])
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(name)
        past = self.trials()
        # A resumed sampler has lost its random state: it goes on from a seed of its own, not from its start.
        seed = seed + 1_000_003 * len(past)
        self._random = random.Random(seed)
        chosen = SAMPLERS.get(sampler)
        self._memory = optuna.create_study(directions=["minimize", "maximize"], sampler=chosen.create(space, seed))
        self._spread = chosen.spread
        self._asked: dict[int, optuna.Trial] = {}
        self._known: dict[str, Trial] = {trial.architecture.fingerprint: trial for trial in past}
        for frozen in self._record.get_trials(deepcopy=False):
            self._remember(frozen)

    def trials(self) -> list[Trial]:
        """Return every trial whose architecture was recorded, by number."""
        return [_trial(frozen) for frozen in self._record.get_trials(deepcopy=False) if _is_recorded(frozen)]

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
            memory = self._memory.ask(fixed_distributions=self._sampled)
            proposal = self._consider(_to_point(memory.params, self.space), memory)
            if proposal is not None:
                return proposal
        return self._propose_at_random()

    def start(self, proposal: Proposal, base_parameters: int) -> Trial:
        """Record a proposal as a running trial."""
        with self._chosen.choosing(proposal.point):
            trial = self._record.ask(fixed_distributions=self._readable)
        return self._started(trial, "", proposal.architecture, proposal.params, base_parameters, proposal.memory)

    def start_baseline(self, name: str, architecture: Architecture, params: int, base_parameters: int) -> Trial:
        """Record a hand-made architecture as a running trial; it is no point of the space."""
        return self._started(self._record.ask(), name, architecture, params, base_parameters, None)

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
        trial = _trial(self._frozen(number))
        self._known[trial.architecture.fingerprint] = trial
        memory = self._asked.pop(number, None)
        if memory is not None:
            self._tell_memory(memory, trial)
        return trial

    def drop_unrecorded(self) -> None:
        """Fail the trials that were asked for but whose architecture a crash kept from being recorded."""
        for frozen in self._record.get_trials(deepcopy=False):
            if not frozen.state.is_finished() and not _is_recorded(frozen):
                self._set_attribute(frozen.number, "reason", "controller_lost")
                self._record.tell(frozen.number, state=TrialState.FAIL)

    def _consider(self, point: Point, memory: optuna.Trial | None) -> Proposal | None:
        decoded = self.space.decode(point)
        admitted = None if decoded is None else self._admit(decoded)
        if admitted is None:
            if memory is not None:
                memory.set_constraint("admitted", 1.0)
                self._memory.tell(memory, state=TrialState.PRUNED)
            return None
        architecture, params = admitted
        known = self._known.get(architecture.fingerprint)
        if known is not None:
            if memory is not None:
                self._tell_memory(memory, known)
            return None
        return Proposal(point, architecture, params, memory)

    def _propose_by_cost(self, index: int) -> Proposal | None:
        """Return a new point whose cost is near the index's place on the cost axis."""
        lowest, highest = self._cost_range
        target = lowest + _van_der_corput(index) * (highest - lowest)
        for _ in range(PATIENCE):
            proposal = self._consider(self._approach(target), None)
            if proposal is not None:
                return self._with_memory(proposal)
        return None

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
        for _ in range(CHANGES):
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

    def _with_memory(self, proposal: Proposal) -> Proposal:
        """Put a point that the sampler did not propose into its study, so that it learns from it."""
        self._memory.enqueue_trial(_from_point(proposal.point, self.space))
        return replace(proposal, memory=self._memory.ask(fixed_distributions=self._sampled))

    def _propose_at_random(self) -> Proposal | None:
        admitted_any = False
        for _ in range(RANDOM_DRAWS):
            point, decoded = self.space.sample(self._random)
            proposal = self._consider(point, None)
            if proposal is not None:
                return self._with_memory(proposal)
            admitted_any = admitted_any or self._admit(decoded) is not None
        if admitted_any or self._known:
            return None
        raise NoFeasibleArchitecture(f"none of {RANDOM_DRAWS} random points of {self.space.name!r} meets the caps")

    def _started(
        self,
        trial: optuna.Trial,
        name: str,
        architecture: Architecture,
        params: int,
        base_parameters: int,
        memory: optuna.Trial | None,
    ) -> Trial:
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
            self._set_attribute(trial.number, key, value)
        if memory is not None:
            self._asked[trial.number] = memory
        started = _trial(self._frozen(trial.number))
        self._known[architecture.fingerprint] = started
        return started

    def _tell_memory(self, memory: optuna.Trial, trial: Trial) -> None:
        if trial.score is None:
            state = TrialState.PRUNED if trial.state == "running" else TrialState.FAIL
            self._memory.tell(memory, state=state)
        else:
            self._memory.tell(memory, [cost_axis(trial.params), trial.score])

    def _remember(self, frozen: FrozenTrial) -> None:
        if not _is_recorded(frozen) or frozen.params.keys() != self._readable.keys():
            return
        trial = _trial(frozen)
        if trial.score is not None:
            values = [cost_axis(trial.params), trial.score]
            params = _from_point(frozen.params, self.space)
            self._memory.add_trial(
                optuna.trial.create_trial(params=params, distributions=self._sampled, values=values)
            )

    def _set_attribute(self, number: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._identity(number), key, value)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._identity(number))

    def _identity(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def open_storage(url: str) -> RDBStorage:
    """Return Optuna's storage in a database, as safe to share and to crash on as our own tables."""
    create_folder(url)
    storage = RDBStorage(url, engine_kwargs=engine_options(url))
    protect(storage.engine)
    storage.engine.dispose()  # connections made before they were protected
    return storage


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


def _readable(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.choices)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _sampled(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice) and dimension.ordered:
        return IntDistribution(0, len(dimension.choices) - 1)
    return _readable(dimension)


def _to_point(params: Mapping[str, Any], space: SearchSpace) -> Point:
    return {d.name: d.choices[params[d.name]] if _by_position(d) else params[d.name] for d in space.dimensions}


def _from_point(point: Point, space: SearchSpace) -> dict[str, Any]:
    return {d.name: d.choices.index(point[d.name]) if _by_position(d) else point[d.name] for d in space.dimensions}


def _by_position(dimension: Dimension) -> TypeGuard[Choice]:
    return isinstance(dimension, Choice) and dimension.ordered


def _is_recorded(frozen: FrozenTrial) -> bool:
    return "architecture" in frozen.user_attrs


def _trial(frozen: FrozenTrial) -> Trial:
    attributes = frozen.user_attrs
    complete = frozen.state == TrialState.COMPLETE
    state = "complete" if complete else "failed" if frozen.state.is_finished() else "running"
    return Trial(
        number=frozen.number,
        name=attributes["name"],
        architecture=Architecture.from_dict(json.loads(attributes["architecture"])),
        params=attributes["params"],
        score=frozen.values[1] if complete else None,
        state=state,
        reason=attributes.get("reason"),
        seconds=attributes.get("seconds", 0.0),
        attempts=attributes["attempts"],
    )


@contextmanager
def _no_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
