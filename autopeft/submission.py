"""From what a person asks for to a search that can start: everything is checked here, before any training."""

from __future__ import annotations

import importlib.metadata
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

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
from autopeft.budget import Budget, parse_budget, parse_max_params
from autopeft.errors import InvalidInput, NoFeasibleArchitecture, Problem
from autopeft.messages import SearchSpec
from autopeft.modules.plan import count_parameters, normalise
from autopeft.registry import EXECUTORS, SAMPLERS
from autopeft.space import Choice, SearchSpace, load_document, load_space, space_names
from autopeft.tasks import TaskData, load_task

VERSIONED = ("autopeft", "torch", "transformers", "peft", "optuna", "ray", "datasets", "bitsandbytes", "safetensors")
FEASIBILITY_DRAWS = 300
TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")


@dataclass(frozen=True)
class Plan:
    """A search whose every part is known and fits the others.

    Attributes:
        cap: most trainable parameters, or None.
        base_parameters: of the base model without a head.
    """

    spec: SearchSpec
    budget: Budget
    model: BaseModel
    space: SearchSpace
    cap: int | None

    @property
    def base_parameters(self) -> int:
        """Parameters of the base model without a head."""
        return self.model.parameters

    def admit(self, architecture: Architecture) -> tuple[Architecture, int] | None:
        """Return the architecture's normal form on this model and its parameters, or None where the cap forbids it."""
        architecture = normalise(architecture, self.model.geometry).with_quantisation(self.spec.quantise)
        params = count_parameters(architecture, self.model.geometry)
        return None if self.cap is not None and params > self.cap else (architecture, params)

    @cached_property
    def baselines(self) -> dict[str, tuple[Architecture, int]]:
        """The hand-made architectures that the cap admits, with their parameters, by name."""
        made = {name: self.admit(architecture) for name, architecture in baselines(self.model.geometry).items()}
        return {name: admitted for name, admitted in made.items() if admitted is not None}


def submit(spec: SearchSpec, known: Sequence[Problem] = ()) -> tuple[Plan, dict[str, Any]]:
    """Check a request as a whole, its data included, and return its plan and the facts to store with it.

    Args:
        spec: what is asked for.
        known: problems that it has in any case; what they are about is left at its default in ``spec``.

    Raises:
        InvalidInput: with every problem that could be found, not only the first.
    """
    problems = [*known, *_name_problems(spec.name)]

    def attempt(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except InvalidInput as error:
            problems.extend(error.problems)
            return None

    spec = attempt(lambda: _with_absolute_paths(spec)) or spec
    plan = attempt(lambda: make_plan(spec))
    attempt(lambda: _require_files(find_model(spec.model)))
    in_doubt = any(problem.field.startswith("task") for problem in known)
    task: TaskData | None = None if in_doubt else attempt(lambda: load_task(spec.task))
    attempt(lambda: probe_quantisation(spec.quantise))
    if problems or task is None:
        raise InvalidInput(*{str(problem): problem for problem in problems}.values())
    load_tokenizer(spec.model)
    return plan, _facts(plan, task)


def make_plan(spec: SearchSpec) -> Plan:
    """Resolve a request's names and bind its space to its model; no data is read.

    Raises:
        InvalidInput: with every problem found.
    """
    problems: list[Problem] = []
    model: BaseModel | None = None
    space: SearchSpace | None = None
    budget, cap = Budget(trials=1), None
    for registry, name in ((SAMPLERS, spec.sampler), (EXECUTORS, spec.executor)):
        if name not in registry.names:
            problems.append(Problem.unknown(registry.kind, name, registry.names))
    try:
        budget = _as_wall_time(parse_budget(spec.budget), spec.budget)
    except InvalidInput as error:
        problems.extend(error.problems)
    try:
        model = describe_model(spec.model)
    except InvalidInput as error:
        problems.extend(error.problems)
    try:
        # What is wrong in the space's file can be told without a model to put it on.
        if model is None:
            load_document(spec.space)
        else:
            space = load_space(spec.space, model.geometry)
    except InvalidInput as error:
        problems.extend(error.problems)
    try:
        if spec.max_params is not None:
            cap = parse_max_params(spec.max_params, 1 if model is None else model.parameters)
    except InvalidInput as error:
        problems.extend(error.problems)
    if problems or model is None or space is None:
        raise InvalidInput(*problems)
    plan = Plan(spec, budget, model, space, cap)
    _check_feasible(plan)
    return plan


def _as_wall_time(budget: Budget, text: str) -> Budget:
    """Return GPU time as the wall time that it is on this machine's GPUs; other budgets as they are.

    Raises:
        InvalidInput: GPU time where there is no GPU.
    """
    if budget.gpu_seconds is None:
        return budget
    gpus = torch.cuda.device_count()
    if not gpus:
        raise InvalidInput(
            Problem("budget", text, "GPU time, and there is no GPU here; give trials (40) or wall time (2h)")
        )
    return Budget(seconds=budget.gpu_seconds / gpus)


def smallest(plan: Plan) -> int:
    """Return the fewest parameters found in the plan's space.

    That is the best of some random points, with single choices changed for the better until no change helps.
    """
    rng = random.Random(0)

    def params(point: dict[str, Any]) -> float:
        decoded = plan.space.decode(point)
        if decoded is None:
            return float("inf")
        return count_parameters(normalise(decoded, plan.model.geometry), plan.model.geometry)

    point = min((dict(plan.space.sample(rng)[0]) for _ in range(FEASIBILITY_DRAWS)), key=params)
    best, improved = params(point), True
    while improved:
        improved = False
        for dimension in plan.space.dimensions:
            for choice in dimension.choices if isinstance(dimension, Choice) else ():
                changed = params({**point, dimension.name: choice})
                if changed < best:
                    point, best, improved = {**point, dimension.name: choice}, changed, True
    return int(best)


def _with_absolute_paths(spec: SearchSpec) -> SearchSpec:
    """Name local files so that a worker in another folder finds them."""
    model, task = find_model(spec.model), Path(os.path.expanduser(spec.task.name))
    changes: dict[str, Any] = {}
    if model.local and spec.model not in BUNDLED:
        changes["model"] = model.location
    if task.exists():
        changes["task"] = spec.task.model_copy(update={"name": str(task.resolve())})
    if Path(os.path.expanduser(spec.space)).is_file() and spec.space not in space_names():
        changes["space"] = str(Path(os.path.expanduser(spec.space)).resolve())
    return spec.model_copy(update=changes)


def _check_feasible(plan: Plan) -> None:
    try:
        plan.space.sample(random.Random(0))
    except NoFeasibleArchitecture as error:
        raise InvalidInput(Problem("space", plan.spec.space, str(error))) from error
    problems: list[Problem] = []
    for architecture in plan.space.cover():
        try:
            normalise(architecture, plan.model.geometry)
        except InvalidInput as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidInput(*dict.fromkeys(problems))
    if plan.cap is not None and (least := smallest(plan)) > plan.cap:
        remedy = f"too low: the smallest architecture of {plan.spec.space!r} has {least:,} parameters"
        raise InvalidInput(Problem("max-params", plan.spec.max_params, remedy))


def _name_problems(name: str | None) -> Iterator[Problem]:
    if name is None:
        return
    if not name.strip() or name != name.strip():
        yield Problem("name", name, "empty, or with blanks around it; give a word or two")
    if name.startswith("-"):
        yield Problem("name", name, "begins with '-', as options do; begin with a letter or a digit")
    if re.fullmatch(r"s-[0-9a-f]{8}", name):
        yield Problem("name", name, "looks like an id, which every search is given; choose another")


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
        "versions": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    return {name: importlib.metadata.version(name) for name in VERSIONED}
