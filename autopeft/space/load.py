"""Finding and reading a search space: by name from ``search_spaces/``, or a file of one's own by path."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from autopeft.documents import parse, read_yaml
from autopeft.errors import InvalidInput, Problem
from autopeft.geometry import ModelGeometry
from autopeft.space.check import misfits, unknown_names
from autopeft.space.schema import SpaceDocument
from autopeft.space.space import SearchSpace

PRESET = "preset:"


def space_names() -> tuple[str, ...]:
    """Return the names of the spaces that are shipped."""
    return tuple(sorted(path.stem for path in _shipped().glob("*.yaml")))


def preset_names() -> tuple[str, ...]:
    """Return the names of the designs that are shipped: spaces of a single point, asked for as ``preset:NAME``."""
    return tuple(sorted(path.stem for path in (_shipped() / "presets").glob("*.yaml")))


def load_document(name: str) -> SpaceDocument:
    """Read a space by its name, a design by ``preset:`` and its name, or a file by its path.

    Raises:
        InvalidInput: there is no such space, or its document has mistakes; all of them are listed.
    """
    if name in space_names():
        return _read_shipped(f"{name}.yaml", name)
    if name.startswith(PRESET):
        preset = name.removeprefix(PRESET)
        if preset not in preset_names():
            raise InvalidInput(Problem.unknown("space preset", preset, preset_names()))
        return _read_shipped(f"presets/{preset}.yaml", name)
    path = Path(os.path.expanduser(name))
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise InvalidInput(Problem("space", name, "no such file"))
        return _parse(read_yaml(path), path.name)
    raise InvalidInput(Problem.unknown("space", name, [*space_names(), "preset:NAME", "a path to a .yaml file"]))


def load_space(name: str, geometry: ModelGeometry, base_parameters: int | None = None) -> SearchSpace:
    """Read a space and bind it to a model's geometry and number of parameters.

    Raises:
        InvalidInput: there is no such space, it has mistakes, or it does not fit the model.
    """
    return SearchSpace(name, load_document(name), geometry, base_parameters)


@cache
def _read_shipped(path: str, origin: str) -> SpaceDocument:
    return _parse(read_yaml(_shipped() / path), origin)


def _shipped() -> Path:
    return Path(str(resources.files("search_spaces")))


def _parse(document: dict[str, Any], origin: str) -> SpaceDocument:
    unknown = [replace(problem, field=f"{origin}: {problem.field}") for problem in unknown_names(document)]
    try:
        parsed = parse(SpaceDocument, document, origin)
    except InvalidInput as error:
        raise InvalidInput(*error.problems, *unknown) from error
    problems = unknown or [replace(p, field=f"{origin}: {p.field}") for p in misfits(parsed)]
    if problems:
        raise InvalidInput(*problems)
    return parsed
