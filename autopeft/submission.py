"""From what a person asks for to a search that can start: everything is checked here, before any training."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from autopeft.architecture import Architecture
from autopeft.base_models import (
    BUNDLED,
    BaseModel,
    ModelSource,
    describe_model,
    find_model,
    load_tokenizer,
    probe_quantisation,
)
from autopeft.baselines import baselines
from autopeft.budget import Budget, parse_budget, parse_params
from autopeft.documents import parse_rest
from autopeft.errors import InvalidInput, NoFeasibleArchitecture, Problem
from autopeft.messages import Fidelity, SearchSpec, TrialReport, TrialRequest
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.naming import name_problems
from autopeft.objectives import BYTES_PER_PARAMETER, OBJECTIVES, further, measures, parse_caps
from autopeft.policies import POLICIES, Policy
from autopeft.registry import EXECUTORS, Registry
from autopeft.samplers import SAMPLERS
from autopeft.samplers.base import Setting
from autopeft.space import SearchSpace, load_document, load_space, smallest, space_names
from autopeft.tasks import TaskData, find_source, load_task

VERSIONED = ("autopeft", "torch", "transformers", "peft", "optuna", "ray", "datasets", "bitsandbytes", "safetensors")
DEFAULT_POLICY = "optimistic"
T = TypeVar("T")
TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


@dataclass(frozen=True)
class Plan:
    """A search whose every part is known and fits the others.

    Attributes:
        cap: most trainable parameters, or None.
        caps: most of what is measured on a run, in bytes or seconds.
        objectives: what is minimised beside the parameters.
        param_budgets: numbers of trainable parameters to search at.
        base_parameters: of the base model without a head.
        model_hash: of the weights that were submitted, to which runs are held; empty where that is not known.
        task_hash: of the rows, likewise.
    """

    spec: SearchSpec
    budget: Budget
    model: BaseModel
    space: SearchSpace
    cap: int | None
    param_budgets: tuple[int, ...] = ()
    caps: Mapping[str, float] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    model_hash: str = ""
    task_hash: str = ""

    @property
    def policy(self) -> Policy:
        """Which trials are stopped early."""
        whole = self.needs_scores or self.objectives
        return POLICIES.get(self.spec.policy or ("none" if whole else DEFAULT_POLICY))

    @property
    def needs_scores(self) -> bool:
        """Whether the sampler makes the whole plan of what is tried, and needs every trial's score."""
        return SAMPLERS.get(self.spec.sampler).needs_scores

    @property
    def warm_start(self) -> str:
        """What earlier searches give; a sampler that makes the whole plan itself has no place for what they found."""
        return "same" if self.needs_scores else self.spec.warm_start

    @property
    def base_parameters(self) -> int:
        """Parameters of the base model without a head."""
        return self.model.parameters

    def admit(self, architecture: Architecture) -> tuple[Architecture, int] | None:
        """Return the architecture's normal form on this model and its parameters, or None where the cap forbids it."""
        architecture = self.stored(normalise(architecture, self.model.geometry))
        params = count_parameters(architecture, self.model.geometry)
        return None if self.cap is not None and params > self.cap else (architecture, params)

    def stored(self, architecture: Architecture) -> Architecture:
        """Return the architecture on the base model as the search asks to store it, unless the space says how."""
        if self.space.document.quantisation is not None:
            return architecture
        return architecture.with_quantisation(self.spec.quantise)

    def request(self, key: str, architecture: Architecture, fidelity: Fidelity, seed: int) -> TrialRequest:
        """Return the request for one training run of an architecture, as :meth:`admit` gives it."""
        return TrialRequest(
            key=key,
            model=self.spec.model,
            task=self.spec.task,
            architecture=architecture.to_dict(),
            fidelity=fidelity,
            model_hash=self.model_hash,
            task_hash=self.task_hash,
            training=self.spec.training,
            precision=self.spec.precision,
            seed=seed,
            latency="latency" in (*self.objectives, *self.caps),
            shortcuts=not {"memory", "train_time"} & {*self.objectives, *self.caps},
            wall_limit=self.spec.trial_timeout,
        )

    def proxy_request(self, key: str, architecture: Architecture) -> TrialRequest:
        """Return the request for an architecture's trial, at the seed that is its own."""
        return self.request(key, architecture, self.spec.proxy, self.spec.proxy_seed(architecture))

    def over_cap(self, report: TrialReport) -> str:
        """Return which cap a complete run is over, with what it came to; empty where it is within all."""
        found = measures(report, self.caps)
        over = [(OBJECTIVES[name], name) for name, value in found.items() if value > self.caps[name]]
        return "; ".join(f"{name} {o.text(found[name])}, cap {o.text(self.caps[name])}" for o, name in over)

    def setting(self, folder: Path) -> Setting:
        """Return what the sampler chooses in; it keeps its files in the folder."""
        beside = len(self.baselines) if self.spec.baselines else 0
        trials = None if self.budget.trials is None else max(0, self.budget.trials - beside)
        return Setting(
            self.space,
            self.spec.seed,
            self.admit,
            cap=self.cap,
            objectives=self.objectives,
            trials=trials,
            param_budgets=self.param_budgets,
            gates=self.spec.gates,
            folder=folder,
        )

    @cached_property
    def baselines(self) -> dict[str, tuple[Architecture, int]]:
        """The hand-made architectures that the cap admits, with their parameters, by name."""
        made = {name: self.admit(architecture) for name, architecture in baselines(self.model.geometry).items()}
        return {name: admitted for name, admitted in made.items() if admitted is not None}


def submit_options(options: dict[str, Any], known: Sequence[Problem] = ()) -> tuple[Plan, dict[str, Any]]:
    """Submit what a Python caller asks for; see :func:`submit`.

    Args:
        options: fields of :class:`SearchSpec`; ``task`` may be a plain name, ``budget``, ``max_params`` and
            ``param_budgets`` plain numbers.
        known: problems that the request has in any case.

    Raises:
        InvalidInput: with every problem that could be found.
    """
    spec, problems = parse_rest(SearchSpec, _as_document(options))
    return submit(spec, [*known, *problems])


class _Problems(list[Problem]):
    """Problems found so far, so that all of a request's are told at once."""

    def attempt(self, step: Callable[[], T]) -> T | None:
        """Return what a step returns, or take its problems in and return None."""
        try:
            return step()
        except InvalidInput as error:
            self.extend(error.problems)
            return None


def submit(spec: SearchSpec, known: Sequence[Problem] = ()) -> tuple[Plan, dict[str, Any]]:
    """Check a request as a whole, its data included, and return its plan and the facts to store with it.

    Args:
        spec: what is asked for.
        known: problems that it has in any case; what they are about is left at its default in ``spec``.

    Raises:
        InvalidInput: with every problem that could be found, not only the first.
    """
    problems = _Problems([*known, *name_problems(spec.name)])
    spec = problems.attempt(lambda: _with_absolute_paths(spec)) or spec
    plan = problems.attempt(lambda: make_plan(spec))
    if spec.executor in EXECUTORS.names:
        problems += EXECUTORS.get(spec.executor).check(spec.table)
    problems.attempt(lambda: _require_files(find_model(spec.model)))
    if plan is not None:
        problems.attempt(partial(_require_positions, plan))
    in_doubt = any(problem.field.startswith("task") for problem in known)
    task = None if in_doubt else problems.attempt(lambda: load_task(spec.task))
    stored = (plan.space.document.quantisation if plan else None) or [spec.quantise]
    for quantisation in stored:
        problems.attempt(partial(probe_quantisation, quantisation))
    if problems or plan is None or task is None:
        raise InvalidInput(*{str(problem): problem for problem in problems}.values())
    load_tokenizer(spec.model)
    return plan, _facts(plan, task)


def make_plan(spec: SearchSpec) -> Plan:
    """Resolve a request's names and bind its space to its model; no data is read.

    Raises:
        InvalidInput: with every problem found.
    """
    problems = _Problems()
    named: list[tuple[Registry[Any], str]] = [
        (SAMPLERS, spec.sampler),
        (POLICIES, spec.policy or DEFAULT_POLICY),
        (EXECUTORS, spec.executor),
    ]
    for registry, name in named:
        if name not in registry.names:
            problems.append(Problem.unknown(registry.kind, name, registry.names))
    budget = problems.attempt(lambda: parse_budget(spec.budget))
    model = problems.attempt(lambda: describe_model(spec.model))
    space = problems.attempt(lambda: _space_on(model, spec.space))
    whole = 1 if model is None else model.parameters
    most, asked = spec.max_params, spec.param_budgets
    cap = None if most is None else problems.attempt(lambda: parse_params("max-params", most, whole))
    budgets = [problems.attempt(partial(_parse_param_budget, text, whole)) for text in asked]
    objectives = problems.attempt(lambda: further(spec.objectives))
    caps = problems.attempt(lambda: parse_caps(spec.caps))
    if problems or budget is None or model is None or space is None or objectives is None or caps is None:
        raise InvalidInput(*problems)
    if "bytes" in caps:  # known before training, so nothing above it is trained
        by_bytes = int(caps.pop("bytes") / BYTES_PER_PARAMETER)
        cap = by_bytes if cap is None else min(cap, by_bytes)
    plan = Plan(spec, budget, model, space, cap, tuple(filter(None, budgets)), caps, objectives)
    _check_feasible(plan)
    rungs = tuple(sorted({*spec.proxy.rungs, *plan.policy.rungs(spec.proxy)}))
    proxy = spec.proxy.model_copy(update={"rungs": rungs})
    return replace(plan, spec=spec.model_copy(update={"proxy": proxy}))


def _space_on(model: BaseModel | None, name: str) -> SearchSpace | None:
    """Return the space on the model; without one, only what is wrong in the space's file is told."""
    if model is None:
        load_document(name)
        return None
    return load_space(name, model.geometry, model.parameters)


def _with_absolute_paths(spec: SearchSpec) -> SearchSpec:
    """Name local files so that a worker in another folder finds them."""
    model, task = find_model(spec.model), Path(os.path.expanduser(spec.task.name))
    changes: dict[str, Any] = {}
    if model.local and spec.model not in BUNDLED:
        changes["model"] = model.location
    if spec.table is not None:
        changes["table"] = str(Path(os.path.expanduser(spec.table)).resolve())
    if find_source(spec.task.name).files is not None and task.exists():
        changes["task"] = spec.task.model_copy(update={"name": str(task.resolve())})
    elif spec.task.name.startswith(("hf:.", "hf:~")):
        folder = os.path.abspath(os.path.expanduser(spec.task.name.removeprefix("hf:")))
        changes["task"] = spec.task.model_copy(update={"name": f"hf:{folder}"})
    if Path(os.path.expanduser(spec.space)).is_file() and spec.space not in space_names():
        changes["space"] = str(Path(os.path.expanduser(spec.space)).resolve())
    return spec.model_copy(update=changes)


def _check_feasible(plan: Plan) -> None:
    if plan.space.document.quantisation is not None and plan.spec.quantise != "none":
        remedy = f"space {plan.spec.space!r} says itself how the base model is stored; leave quantise out"
        raise InvalidInput(Problem("quantise", plan.spec.quantise, remedy))
    try:
        least = smallest(plan.space)
    except NoFeasibleArchitecture as error:
        raise InvalidInput(Problem("space", plan.spec.space, str(error))) from error
    if plan.cap is not None and least > plan.cap:
        raise InvalidInput(_too_low(plan, least))
    sampler = SAMPLERS.get(plan.spec.sampler)
    if plan.param_budgets and not sampler.takes_param_budgets:
        remedy = f"sampler {plan.spec.sampler!r} finds a whole front by itself; max-params caps it"
        raise InvalidInput(Problem("param-budgets", ", ".join(plan.spec.param_budgets), remedy))
    if plan.objectives and not sampler.takes_more_objectives:
        can = ", ".join(name for name, one in SAMPLERS.all().items() if one.takes_more_objectives)
        remedy = f"sampler {plan.spec.sampler!r} minimises parameters alone; choose one of {can}"
        raise InvalidInput(Problem("objectives", ",".join(plan.spec.objectives), remedy))
    if plan.objectives and plan.spec.policy not in (None, "none"):
        remedy = "a trial behind in its score may be ahead in another objective; leave policy out, or give none"
        raise InvalidInput(Problem("policy", plan.spec.policy, remedy))
    if plan.needs_scores and plan.spec.policy not in (None, "none"):
        remedy = f"sampler {plan.spec.sampler!r} compares the scores of all trials; leave policy out, or give none"
        raise InvalidInput(Problem("policy", plan.spec.policy, remedy))
    problems = list(sampler.check(plan.setting(Path())))
    if problems:
        raise InvalidInput(*problems)


def _too_low(plan: Plan, least: int) -> Problem:
    """Return the problem of the cap that nothing in the space meets: the lower one, if both are given."""
    remedy = f"too low: the smallest architecture of {plan.spec.space!r} has {least:,} parameters"
    most, given = plan.spec.max_params, plan.spec.caps.get("bytes")
    if given is None or (most is not None and parse_params("max-params", most, plan.base_parameters) == plan.cap):
        return Problem("max-params", most, remedy)
    return Problem("cap bytes", given, f"{remedy}, which are {least * BYTES_PER_PARAMETER:,} B")


def _parse_param_budget(text: str, base_parameters: int) -> int:
    found = parse_params("param-budgets", text, base_parameters)
    if not found:
        remedy = f"less than one parameter of the base model's {base_parameters:,}; give more"
        raise InvalidInput(Problem("param-budgets", text, remedy))
    return found


def _require_positions(plan: Plan) -> None:
    """Check that the longest text has a place in the base model."""
    most, asked = plan.model.geometry.positions, plan.spec.task.max_length
    if most is not None and asked > most:
        remedy = f"more tokens than the base model {plan.spec.model!r} has positions for; give {most} at most"
        raise InvalidInput(Problem("task.max_length", asked, remedy))


def _as_document(options: dict[str, Any]) -> dict[str, Any]:
    document = dict(options)
    if isinstance(document.get("task"), str):
        document["task"] = {"name": document["task"]}
    if isinstance(document.get("objectives"), str):
        document["objectives"] = [name.strip() for name in document["objectives"].split(",")]
    for key in ("budget", "max_params"):
        if isinstance(document.get(key), (int, float)):
            document[key] = str(document[key])
    budgets = document.get("param_budgets")
    if isinstance(budgets, str):
        document["param_budgets"] = [text.strip() for text in budgets.split(",")]
    elif isinstance(budgets, (list, tuple)):
        document["param_budgets"] = [str(amount) for amount in budgets]
    return document


def _require_files(source: ModelSource) -> None:
    """Check that a local folder holds weights and a tokeniser; transformers would make up what is missing."""
    if not source.local:
        return
    folder = Path(source.location)
    if not any(folder.glob("*.safetensors")):
        remedy = "no .safetensors weights in this folder; save the model with save_pretrained"
        raise InvalidInput(Problem("model", source.name, remedy))
    if not any(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)):
        remedy = "no tokeniser in this folder; save it there too with tokenizer.save_pretrained"
        raise InvalidInput(Problem("model", source.name, remedy))


def _facts(plan: Plan, task: TaskData) -> dict[str, Any]:
    return {
        "model_hash": plan.model.fingerprint,
        "task_hash": task.fingerprint,
        "kind": task.kind,
        "labels": list(task.labels),
        "metric": task.metric,
        "rows": {
            "train": len(task.train),
            "holdout": len(task.holdout),
            "validation": len(task.validation),
            "test": len(task.test),
        },
        "base_parameters": plan.base_parameters,
        "layers": plan.space.geometry.layers,
        "versions": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    return {name: importlib.metadata.version(name) for name in VERSIONED}
