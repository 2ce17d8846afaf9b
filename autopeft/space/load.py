"""Finding and reading a search space: by name from ``search_spaces/``, or a file of one's own by path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from autopeft.documents import parse, read_yaml
from autopeft.errors import InvalidInput, Problem
from autopeft.geometry import SITE_NAMES, ModelGeometry
from autopeft.registry import MODULE_TYPES
from autopeft.space.schema import SpaceDocument
from autopeft.space.space import SearchSpace


def space_names() -> tuple[str, ...]:
    """Return the names of the spaces that are shipped."""
    return tuple(sorted(path.stem for path in _shipped().iterdir() if path.suffix == ".yaml"))


def load_document(name: str) -> SpaceDocument:
    """Read a space by its name or path.

    Raises:
        InvalidInput: there is no such space, or its document has mistakes; all of them are listed.
    """
    if name in space_names():
        return _parse(read_yaml(_shipped() / f"{name}.yaml"), name)
    path = Path(os.path.expanduser(name))
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise InvalidInput(Problem("space", name, "no such file"))
        return _parse(read_yaml(path), path.name)
    raise InvalidInput(Problem.unknown("space", name, [*space_names(), "a path to a .yaml file"]))


def load_space(name: str, geometry: ModelGeometry) -> SearchSpace:
    """Read a space and bind it to a model's geometry.

    Raises:
        InvalidInput: there is no such space, it has mistakes, or it does not fit the model.
    """
    return SearchSpace(name, load_document(name), geometry)


def _shipped() -> Path:
    return Path(str(resources.files("search_spaces")))


def _parse(document: dict[str, Any], origin: str) -> SpaceDocument:
    unknown = list(_unknown_names(document, origin))
    try:
        parsed = parse(SpaceDocument, document, origin)
    except InvalidInput as error:
        raise InvalidInput(*error.problems, *unknown) from error
    if unknown:
        raise InvalidInput(*unknown)
    return parsed


def _unknown_names(document: dict[str, Any], origin: str) -> Iterator[Problem]:
    """Yield the module types and sites that no model has; the document may have any other mistake."""
    modules = document.get("modules")
    for name, definition in modules.items() if isinstance(modules, dict) else ():
        if name not in MODULE_TYPES.names:
            yield Problem.unknown(f"{origin}: modules", str(name), MODULE_TYPES.names)
        sites = definition.get("sites") if isinstance(definition, dict) else None
        sites = sites.get("choose") if isinstance(sites, dict) else sites
        for site in sites if isinstance(sites, list) else ():
            if isinstance(site, str) and site not in SITE_NAMES:
                yield Problem.unknown(f"{origin}: modules.{name}.sites", site, SITE_NAMES)
