"""The study of one search: what was tried, and what is to be tried next.

The *record* is an Optuna study that is persistent and holds every trial that was started, baselines included, with
readable parameters and raw parameter counts: it is what the dashboard shows. What is tried next is the sampler's
business (:mod:`autopeft.samplers.base`), which works on what it is shown of the record.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from autopeft.architecture import Architecture, Scalar
from autopeft.messages import TrialReport
from autopeft.objectives import measures
from autopeft.samplers import SAMPLERS
from autopeft.samplers.base import Proposal, Setting, Step
from autopeft.samplers.memory import directions, readable
from autopeft.space import Point
from autopeft.trial import WITHDRAWN, Trial, is_recorded


class Study:
    """A search's trials, and the sampler that proposes more.

    Args:
        storage: Optuna storage that holds the record.
        name: of the study in it; created if missing.
        sampler: name of a sampler.
        metric: name of the score, for the dashboard.
        setting: what the sampler chooses in; its past is read from the record.
    """

    def __init__(self, storage: BaseStorage, name: str, sampler: str, metric: str, setting: Setting) -> None:
        self._readable = {d.name: readable(d) for d in setting.space.dimensions}
        self._chosen = _Chosen()
        self._storage = storage
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._record = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=directions(setting.objectives),
                sampler=self._chosen,
                load_if_exists=True,
            )
            if self._record.metric_names is None:
                self._record.set_metric_names(["params", metric, *setting.objectives])
        self._objectives = setting.objectives
        self._study_id = storage.get_study_id_from_name(name)
        past = [(Trial.from_record(frozen), frozen.params) for frozen in self._recorded()]
        self._chooser = SAMPLERS.get(sampler).choose(replace(setting, past=past))
        self._tokens: dict[int, Any] = {}

    def trials(self) -> list[Trial]:
        """Return every trial whose architecture was recorded, by number."""
        return [Trial.from_record(frozen) for frozen in self._recorded()]

    def close(self) -> None:
        """Give the record's connections back; what is asked of the study after that takes new ones."""
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()

    def propose(self) -> Step:
        """Return what the sampler would do next.

        Raises:
            NoFeasibleArchitecture: nothing that it can find meets the caps.
        """
        return self._chooser.propose()

    # -- what was tried -----------------------------------------------------------------------------------------------

    def start(self, proposal: Proposal, base_parameters: int) -> Trial:
        """Record a proposal as a running trial."""
        with self._chosen.choosing(proposal.point):
            number = self._record.ask(fixed_distributions=self._readable).number
        self._tokens[number] = proposal.token
        return self._started(number, "", proposal.architecture, proposal.params, base_parameters)

    def start_given(self, architecture: Architecture, params: int, base_parameters: int, name: str = "") -> Trial:
        """Record an architecture that the sampler did not propose as a running trial; it is no point of the space.

        Args:
            architecture: in its normal form.
            params: of it.
            base_parameters: of the base model.
            name: of a baseline.
        """
        return self._started(self._record.ask().number, name, architecture, params, base_parameters)

    def restart(self, trial: Trial) -> bool:
        """Count another start of a trial that was running when its controller or worker was lost.

        Returns:
            Whether it still runs: a controller that finds out that it has lost the search ends what it has just begun.
        """
        try:
            self._set_attribute(trial.number, "attempts", trial.attempts + 1)
        except UpdateFinishedTrialError:
            return False
        return True

    def tell(self, number: int, report: TrialReport, score: float | None) -> Trial:
        """Finish a trial with its report; telling one that is finished already changes nothing."""
        frozen = self._frozen(number)
        if not frozen.state.is_finished():
            with suppress(UpdateFinishedTrialError):  # another controller has ended it at this moment, and that stands
                self._end(frozen, report, score)
        return self._show(number, self._tokens.pop(number, None))

    def _end(self, frozen: FrozenTrial, report: TrialReport, score: float | None) -> None:
        number = frozen.number
        self._set_attribute(number, "seconds", round(report.seconds, 3))
        self._set_attribute(number, "device", report.device)
        if report.peak_memory:
            self._set_attribute(number, "peak_memory", report.peak_memory)
        if report.source:
            self._set_attribute(number, "source", report.source)
        if report.curve:
            self._set_attribute(number, "steps", report.steps)
            self._set_attribute(number, "curve", report.curve)
        if score is None:
            self._set_attribute(number, "reason", report.reason or "error")
            self._set_attribute(number, "detail", report.detail[-500:])
            state = TrialState.PRUNED if report.state == "pruned" else TrialState.FAIL
            self._record.tell(number, state=state, skip_if_finished=True)
        else:
            found = measures(report, self._objectives)
            if found:
                self._set_attribute(number, "measures", found)
            values = [float(frozen.user_attrs["params"]), score, *found.values()]
            self._record.tell(number, values, skip_if_finished=True)

    def withdraw(self, trial: Trial) -> None:
        """Take a trial back that was never run: it does not count, and the record shows it as failed."""
        self._set_attribute(trial.number, WITHDRAWN, True)
        self._record.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

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
        return self._show(number, self._tokens.get(number))

    def _show(self, number: int, token: Any) -> Trial:
        """Show a trial to the sampler as it is recorded, and return it."""
        trial = Trial.from_record(self._frozen(number))
        self._chooser.see(trial, token)
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
