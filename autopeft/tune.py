"""For people who run Ray Tune: a space as `OptunaSearch` takes it, and a trainable that reports our objectives.

::

    job = autopeft.tune.Job(model="minilm", task="docstrings", space="autopeft")
    search = OptunaSearch(space=job.space, metric=["log_params", "score"], mode=["min", "max"])
    config = tune.TuneConfig(search_alg=search, num_samples=20, reuse_actors=True)
    results = tune.Tuner(job.trainable, tune_config=config).fit()

Tune decides how many trials run, where, and in which order; nothing is written to AutoPEFT's own store.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import ray
from ray import tune
from ray.tune.result import DONE
from ray.tune.utils import flatten_dict

from autopeft.architecture import Architecture, Scalar
from autopeft.errors import AutopeftError, Problem
from autopeft.messages import SearchSpec, TrialReport
from autopeft.pareto import cost_axis
from autopeft.samplers.base import Admit
from autopeft.space import Choice, Dimension, Integers, SearchSpace
from autopeft.submission import Plan, submit_options

if TYPE_CHECKING:
    import optuna

DefineByRun = Callable[["optuna.Trial"], dict[str, Any]]
Result = dict[str, Any]

OPTIONS = (
    *("model", "task", "space", "max_params"),
    *("seed", "quantise", "precision", "training", "proxy", "trial_timeout"),
)
# Every metric is at least this; finite, for what a sampler or a logger makes of infinity is its own affair.
WORST_SCORE = -1.0


def define_by_run(space: SearchSpace, admit: Admit | None = None) -> DefineByRun:
    """Return the function that `ray.tune.search.optuna.OptunaSearch` takes as its `space`.

    It suggests every dimension under its own name and returns the point, whose values are the dimensions' own. An
    ordered choice is suggested by its position, so that the sampler knows neighbours; the point has the value itself.
    A point that is not valid gets the constraint ``admitted`` above zero (`optuna.Trial.set_constraint`, Optuna 5), so
    that the sampler learns to stay away from it. The function can be pickled, which Tune does to save its searcher.

    Args:
        space: what points are made of.
        admit: maps a decoded architecture to its normal form and parameters, or None where a cap forbids it.
    """
    return partial(_suggest_point, space, admit)


class Job:
    """One model, task and space for Ray Tune.

    Args:
        options: of the fields of :class:`autopeft.messages.SearchSpec` those in :data:`OPTIONS`, as in
            :class:`autopeft.Search`; ``proxy`` says how much training a trial gets. The others are Tune's to decide.

    Raises:
        InvalidInput: with every problem of the request.
    """

    def __init__(self, **options: Any) -> None:
        taken = {name: value for name, value in options.items() if name not in _left_to_tune()}
        self._plan, _ = submit_options(taken, list(_misplaced(options)))

    @property
    def space(self) -> DefineByRun:
        """The search space, for `OptunaSearch(space=...)`; it refuses what breaks the cap as well."""
        return define_by_run(self._plan.space, self._plan.admit)

    @property
    def trainable(self) -> type[tune.Trainable]:
        """The trainable class, for `tune.Tuner`; see :class:`ArchitectureTrial` for what it reports.

        A trial asks for one CPU, and for one GPU where there are any; `tune.with_resources(job.trainable, {"cpu": 2,
        "gpu": 0.5})` asks for other shares.
        """
        trainable: type[tune.Trainable] = tune.with_parameters(ArchitectureTrial, plan=self._plan)
        return trainable

    def architecture(self, config: Mapping[str, Any]) -> Architecture | None:
        """Return the architecture of a sampled config in its normal form, or None where it is refused."""
        admitted = _admitted(self._plan, config)
        return admitted and admitted[0]


class ArchitectureTrial(tune.Trainable):
    """Trains the architecture of a sampled config in a single step.

    With ``tune.TuneConfig(reuse_actors=True)`` the process, and the base model and task in it, stay for the next
    trial; without, each trial loads them again.

    A result has:

    - ``params``, ``log_params``: trainable parameters without the head, and ``log10(1 + params)``, the cost axis of
      our fronts; to be minimised.
    - ``score``: of the task's metric on held-out rows; to be maximised.
    - ``seconds``: of the run.
    - ``fingerprint``: of the architecture in its normal form; empty where there is none.
    - ``feasible``: False for a point that decodes to nothing or that the cap forbids. Nothing is trained then, and the
      objectives are worse than any real ones: the base model's own parameters, and a score of ``WORST_SCORE``.
    - ``repeated``: True where this process trained the same architecture before; its result is reported again.

    Raises:
        AutopeftError: a run gave no score. Tune marks the trial as failed and goes on, and Optuna's study too.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Ask for one CPU, and for a GPU where there are any: Ray 2.60 hides none from trials that ask for none."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return tune.PlacementGroupFactory([{"CPU": 1.0, "GPU": 1.0} if resources.get("GPU") else {"CPU": 1.0}])

    def setup(self, config: dict[str, Any], plan: Plan | None = None) -> None:
        """Take the first config; `tune.with_parameters` adds the plan."""
        assert plan is not None, "made by Job.trainable"
        self._plan = plan
        self._results: dict[str, Result] = {}
        # Reached by name: the caller's process needs no worker in it.
        self._run: Callable[..., TrialReport] = importlib.import_module("workers.proxy").run

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial's config, which Tune has put in place; what is loaded stays."""
        return True

    def step(self) -> Result:
        """Train, and return the only result of this trial."""
        admitted = _admitted(self._plan, self.config)
        return {**(self._infeasible() if admitted is None else self._result(*admitted)), DONE: True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep nothing, which Tune asks of every class at its end: a trial is one step, and its result says it all."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Start afresh."""

    def _infeasible(self) -> Result:
        params = self._plan.base_parameters
        return _as_result(params, WORST_SCORE) | {"feasible": False}

    def _result(self, architecture: Architecture, params: int) -> Result:
        known = self._results.get(architecture.fingerprint)
        if known is not None:
            return known | {"repeated": True}
        report = self._train(architecture)
        result = _as_result(params, report.scores["holdout"], report.seconds, architecture.fingerprint)
        self._results[architecture.fingerprint] = result
        return result

    def _train(self, architecture: Architecture) -> TrialReport:
        report = self._run(self._plan.proxy_request(f"trial {self.trial_id}", architecture))
        if report.state == "failed":
            raise AutopeftError(f"{architecture.summary()}: {report.reason}: {report.detail}")
        return report


def _as_result(params: int, score: float, seconds: float = 0.0, fingerprint: str = "") -> Result:
    return {
        "params": params,
        "log_params": cost_axis(params),
        "score": score,
        "seconds": seconds,
        "fingerprint": fingerprint,
        "feasible": True,
        "repeated": False,
    }


def _suggest_point(space: SearchSpace, admit: Admit | None, trial: optuna.Trial) -> dict[str, Scalar]:
    point = {dimension.name: _suggest(trial, dimension) for dimension in space.dimensions}
    decoded = space.decode(point)
    refused = decoded is None or (admit is not None and admit(decoded) is None)
    trial.set_constraint("admitted", float(refused))
    return point


def _suggest(trial: optuna.Trial, dimension: Dimension) -> Scalar:
    name = dimension.name
    if isinstance(dimension, Choice):
        if dimension.ordered:
            return dimension.choices[trial.suggest_int(name, 0, len(dimension.choices) - 1)]
        return cast(Scalar, trial.suggest_categorical(name, dimension.choices))
    if isinstance(dimension, Integers):
        return trial.suggest_int(name, dimension.low, dimension.high, log=True)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _admitted(plan: Plan, config: Mapping[str, Any]) -> tuple[Architecture, int] | None:
    """Return a config's architecture in its normal form with its parameters, or None where it is refused."""
    values = flatten_dict(dict(config), delimiter="/")  # Tune nests a name with a slash in it, as of a user's module
    decoded = plan.space.decode({dimension.name: values[dimension.name] for dimension in plan.space.dimensions})
    return None if decoded is None else plan.admit(decoded)


def _left_to_tune() -> set[str]:
    return set(SearchSpec.model_fields) - set(OPTIONS)


def _misplaced(options: Mapping[str, Any]) -> Iterator[Problem]:
    for name in sorted(_left_to_tune() & options.keys()):
        yield Problem(name, options[name], f"Tune decides this; a job takes {', '.join(OPTIONS)}")
