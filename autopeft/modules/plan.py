"""What an architecture means on a model of some geometry: checked, normalised and priced, without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from autopeft.architecture import Architecture, Placement, Scalar
from autopeft.errors import InvalidInput, Problem
from autopeft.geometry import ModelGeometry
from autopeft.modules import MODULE_TYPES, ModuleType


def normalise(architecture: Architecture, geometry: ModelGeometry) -> Architecture:
    """Return the architecture with canonical options, those that equal their defaults left out: equals look equal.

    Raises:
        InvalidInput: a module type, site, size or option does not fit the geometry; every problem is listed.
    """
    problems: list[Problem] = []
    placements = []
    for placement in architecture.placements:
        try:
            placements.append(normalise_placement(placement, geometry))
        except InvalidInput as error:
            problems.extend(error.problems)
    problems.extend(_crowded(placements, geometry))
    if problems:
        raise InvalidInput(*dict.fromkeys(problems))
    return replace(architecture, placements=tuple(placements))


def price(placement: Placement, geometry: ModelGeometry) -> int:
    """Return the placement's trainable parameters by its module type's closed formula.

    :func:`autopeft.modules.count.count_parameters` is the truth that the tests hold it to.
    """
    site = geometry.site(placement.site, placement.layer)
    return MODULE_TYPES.get(placement.module).count(site, placement.size, full_options(placement))


def full_options(placement: Placement) -> dict[str, Scalar]:
    """Return the placement's options with the module type's defaults filled in."""
    return {**MODULE_TYPES.get(placement.module).options, **dict(placement.options)}


def normalise_placement(placement: Placement, geometry: ModelGeometry) -> Placement:
    """Return the placement with canonical options, those that equal their defaults left out.

    Raises:
        InvalidInput: its module type, site, size or an option does not fit the geometry; every problem is listed.
    """
    module_type = MODULE_TYPES.get(placement.module)
    site = geometry.site(placement.site, placement.layer)
    problems = []
    if site.kind not in module_type.kinds:
        fitting = _sites_of_kind(module_type.kinds, geometry)
        problems.append(Problem(f"{placement.module}.site", site.name, f"cannot go there; it can go to {fitting}"))
    if module_type.sized and placement.size < 1:
        problems.append(Problem(f"{placement.module}.size", placement.size, "must be 1 or more"))
    if not module_type.sized and placement.size:
        problems.append(Problem(f"{placement.module}.size", placement.size, "has no size; leave it out"))
    defaults = module_type.options
    given: dict[str, Scalar] = {}
    for name, value in placement.options:
        if name not in defaults:
            problems.append(Problem.unknown(f"{placement.module}.options", name, defaults))
            continue
        typed = _option(module_type, name, value)
        if typed is None:
            problems.append(_refused(f"{placement.module}.options.{name}", module_type, name, value))
        else:
            given[name] = typed
    if problems:
        raise InvalidInput(*problems)
    return replace(placement, options=_kept(module_type, placement.size, given))


def option_problem(field: str, module_type: ModuleType, option: str, value: Scalar) -> Problem | None:
    """Return what is wrong with the value of a module type's option, or None where nothing is."""
    return _refused(field, module_type, option, value) if _option(module_type, option, value) is None else None


def _refused(field: str, module_type: ModuleType, option: str, value: Scalar) -> Problem:
    allowed = module_type.allowed.get(option)
    return Problem(field, value, f"must be {allowed.words if allowed else _wanted(module_type.options[option])}")


def _option(module_type: ModuleType, option: str, value: Scalar) -> Scalar | None:
    """Return the value in the type of the option's default, or None where the option cannot have it."""
    typed = _as_type_of(module_type.options[option], value)
    allowed = module_type.allowed.get(option)
    return typed if typed is not None and (allowed is None or allowed.holds(typed)) else None


def _crowded(placements: Iterable[Placement], geometry: ModelGeometry) -> Iterator[Problem]:
    there: dict[tuple[str, int], list[str]] = {}
    for placement in placements:
        if geometry.site(placement.site, placement.layer).kind == "kv":
            there.setdefault((placement.site, placement.layer), []).append(placement.module)
    for (site, _), modules in there.items():
        if len(modules) > 1:
            yield Problem(f"modules at {site}", ", ".join(modules), "it takes one module; keep one of them")


def _kept(module_type: ModuleType, size: int, given: dict[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    canonical = module_type.canonical(size, {**module_type.options, **given})
    return tuple((name, value) for name, value in canonical.items() if value != module_type.options[name])


def _as_type_of(default: Scalar, value: Scalar) -> Scalar | None:
    if isinstance(default, bool) or isinstance(value, bool):
        return value if isinstance(value, bool) and isinstance(default, bool) else None
    if isinstance(default, float):
        # The sum makes 0.0 of -0.0, which is written otherwise and so would have a fingerprint of its own.
        return float(value) + 0.0 if isinstance(value, (int, float)) and math.isfinite(value) else None
    if isinstance(default, int):
        return value if isinstance(value, int) and value >= 1 else None
    return value if isinstance(value, type(default)) else None


def _wanted(default: Scalar) -> str:
    words = {bool: "true or false", float: "a finite number", int: "a whole number of 1 or more"}
    return words.get(type(default), "text")


def _sites_of_kind(kinds: Iterable[str], geometry: ModelGeometry) -> str:
    names = dict.fromkeys(site.name for site in geometry.sites if site.kind in kinds)
    return ", ".join(names) or "no site of this model"
