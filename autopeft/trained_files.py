"""The files of a trained model's folder, and whether they belong together. ``docs/recipe.md`` explains them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from autopeft.errors import InvalidInput, NotFound, Problem
from autopeft.messages import Message
from autopeft.recipe import Recipe, read_recipe

RECIPE, MODULES, MODEL, METRICS = "recipe.yaml", "modules.safetensors", "model.json", "metrics.json"
CARD, MERGED = "README.md", "merged"


class TrainedFacts(Message):
    """``model.json``: what prediction needs beside the recipe, as it was when the model was trained.

    Attributes:
        autopeft: version of this file's schema.
        base_model: name under which the base model is loaded.
        base_model_hash: its fingerprint.
        kind: of the task.
        labels: class names in the order of the outputs; empty for a regression.
        texts: texts a row, 1 or 2.
        max_length: longest text in tokens; longer ones are cut.
        center, scale: a regression's output, times ``scale`` and plus ``center``, is in the task's own units.
        seed: of the run whose weights these are.
        architecture: fingerprint of the recipe's architecture.
        modules: SHA-256 of ``modules.safetensors``.
    """

    autopeft: Literal[1] = 1
    base_model: str
    base_model_hash: str
    kind: Literal["classification", "regression"]
    labels: tuple[str, ...]
    texts: int = Field(ge=1, le=2)
    max_length: int
    center: float
    scale: float
    seed: int
    architecture: str
    modules: str


def read_folder(folder: Path) -> tuple[Recipe, TrainedFacts]:
    """Read the recipe and the facts of a trained model.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: files are missing, have mistakes, or do not belong together.
    """
    if not folder.is_dir():
        raise NotFound(f"no folder {str(folder)!r}")
    missing = [name for name in (MODEL, RECIPE, MODULES) if not (folder / name).is_file()]
    if missing:
        remedy = f"not a trained model: no {', '.join(missing)}; give a folder that `autopeft train` wrote"
        raise InvalidInput(Problem("folder", str(folder), remedy))
    facts, recipe = _read_facts(folder / MODEL), read_recipe(folder / RECIPE)
    problems = []
    if hashlib.sha256((folder / MODULES).read_bytes()).hexdigest() != facts.modules:
        problems.append(Problem(str(folder / MODULES), None, "not the tensors that model.json tells of; train again"))
    if recipe.architecture.fingerprint != facts.architecture:
        problems.append(Problem(str(folder / RECIPE), None, "not the architecture that was trained; train again"))
    if problems:
        raise InvalidInput(*problems)
    return recipe, facts


def _read_facts(path: Path) -> TrainedFacts:
    try:
        return TrainedFacts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problems = [
            Problem(
                ": ".join([str(path), ".".join(str(part) for part in item["loc"])]).rstrip(": "), None, item["msg"]
            )
            for item in error.errors(include_url=False)
        ]
        raise InvalidInput(*problems) from error
