"""What the tools that fine-tune language models from a YAML file have in common: what they hold, and the numbers.

They train a causal language model to write an answer. The recipe's LoRA, its optimiser's settings and how the base is
stored go into their files; its task head does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import yaml

from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.opened import Opened, alpha, most_common
from autopeft.exporters.peft import peft_obstacles
from autopeft.recipe import Recipe

# Of the families whose layers AutoPEFT knows, those that transformers has as causal language models.
CAUSAL = frozenset({"gpt2", "llama", "mistral", "opt", "qwen2", "qwen3"})
ROWS = "rows.jsonl"


def language_exporter(
    name: str,
    *,
    summary: str,
    tool: str,
    file: str,
    command: str,
    document: Callable[[Opened], dict[str, Any]],
    pattern: bool = False,
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> Exporter:
    """Return the format of a tool that fine-tunes language models with LoRA from a YAML file.

    Args:
        name: of the tool, in sentences.
        summary: one line for people.
        tool: what reads the file and the version that it was written for.
        file: name of the YAML file.
        command: what to type.
        document: returns what the file holds of a recipe.
        pattern: whether modules may have ranks and alphas of their own.
        beside: further files by name, the same for every recipe.
    """

    def fit(opened: Opened) -> Fit:
        return _fit(opened, name, pattern)

    def files(opened: Opened) -> dict[str, bytes]:
        header = _header(opened.recipe, tool, command, fit(opened))
        return {file: _yaml(header, document(opened)), **beside}

    usage = f"# first make {ROWS}, as {file} says\n{command}"
    return Exporter(summary=summary, tool=tool, usage=usage, fit=fit, files=files)


def _fit(opened: Opened, tool: str, pattern: bool) -> Fit:
    recipe = opened.recipe
    family = opened.attachment.geometry.model_type
    obstacles = list(peft_obstacles(opened))
    if not obstacles and recipe.architecture.module_types != ("lora",):
        obstacles.append(f"{tool} trains LoRA; this is {recipe.architecture.module_types[0]}")
    if family not in CAUSAL:
        obstacles.append(f"{tool} trains causal language models; {recipe.base_model.name} ({family}) is none")
    if obstacles:
        return Fit(tuple(obstacles))
    return Fit((), (*_task_losses(recipe, tool), *_module_losses(opened, tool, pattern), *_training_losses(opened)))


def _task_losses(recipe: Recipe, tool: str) -> list[str]:
    answer = f"one of {len(recipe.task.labels)} labels" if recipe.task.labels else "a number"
    return [f"{tool} has no task head: the language model learns to write {answer}, so scores do not compare"]


def _module_losses(opened: Opened, tool: str, pattern: bool) -> list[str]:
    losses = []
    for what, values in (
        ("rank", {opened.path(p): p.size for p in opened.placements}),
        ("alpha", {opened.path(p): alpha(p) for p in opened.placements}),
    ):
        kept = most_common(values.values())
        others = [f"{path} ({value})" for path, value in values.items() if value != kept]
        if others and not pattern:
            losses.append(f"{tool} has one {what} for all modules: {kept}, also for {_listed(others)}")
    broken = [f"{opened.path(p)} ({alpha(p)})" for p in opened.placements if not isinstance(alpha(p), int)]
    if broken:
        losses.append(f"{tool} takes whole numbers as alpha: rounded at {_listed(broken)}")
    return losses


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _training_losses(opened: Opened) -> list[str]:
    rates = [opened.rates[p.key] for p in opened.placements]
    if len(set(rates)) == 1:
        return []
    return [f"one learning rate for all modules: {most_common(rates):.3g}, where they have {_spread(rates)}"]


def _spread(rates: list[float]) -> str:
    return f"{min(rates):.3g} to {max(rates):.3g}"


def whole_alpha(value: float) -> int:
    """Return an alpha as these tools take it: a whole number of 1 or more."""
    return max(1, round(value))


def training_numbers(opened: Opened) -> dict[str, Any]:
    """Return what the tools call alike: the optimiser's settings, by the names of transformers' trainer."""
    settings, fidelity = opened.settings, opened.fidelity
    rows = min(opened.recipe.task.rows["train"], fidelity.rows or math.inf)
    steps = max(1, math.ceil(fidelity.epochs * math.ceil(rows / settings.batch_size)))
    return {
        "learning_rate": float(f"{most_common(opened.rates[p.key] for p in opened.placements):.6g}"),
        "warmup_steps": max(1, round(steps * settings.warmup)),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.gradient_clip,
        "gradient_accumulation_steps": 1,
        "seed": opened.recipe.seeds[0],
    }


def _header(recipe: Recipe, tool: str, command: str, fit: Fit) -> list[str]:
    """Return what the file is, what to type, which rows it needs, and what it loses, a line each."""
    columns = "text" if len(recipe.task.text) < 2 else "both texts"
    header = [
        f"{recipe.architecture.summary()}, from AutoPEFT's search {recipe.search.name!r}, for {tool}.",
        f"Run it: {command}",
        f"It reads {ROWS} beside it: a line for every row of the task {recipe.task.name!r}, as",
        f'{{"prompt": {columns}, "completion": label}}, the label as text.',
    ]
    if fit.losses:
        header += ["What is not as in the recipe:", *(f"- {loss}" for loss in fit.losses)]
    return header


def _yaml(header: list[str], document: dict[str, Any]) -> bytes:
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return ("".join(f"# {' '.join(line.split())}\n" for line in header) + text).encode()
