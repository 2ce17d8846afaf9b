"""What an architecture means on a model of some geometry: checked, normalised and counted, without any weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import torch

from autopeft.architecture import Architecture, Placement, Scalar
from autopeft.errors import InvalidInput, Problem
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES


def normalise(architecture: Architecture, geometry: ModelGeometry) -> Architecture:
    """Return the architecture with options that equal their defaults left out, so that equals look equal.

    Raises:
        InvalidInput: a module type, site, size or option does not fit the geometry; every problem is listed.
    """
    problems: list[Problem] = []
    placements = []
    for placement in architecture.placements:
        try:
            placements.append(_normalise(placement, geometry))
        except InvalidInput as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidInput(*dict.fromkeys(problems))
    return replace(architecture, placements=tuple(placements))


def count_parameters(architecture: Architecture, geometry: ModelGeometry) -> int:
    """Return the trainable PEFT parameters, without the task head, of the real modules built on ``meta``."""
    return sum(_count(p.module, geometry.site(p.site, p.layer), p.size, p.options) for p in architecture.placements)


def full_options(placement: Placement) -> dict[str, Scalar]:
    """Return the placement's options with the module type's defaults filled in."""
    return {**MODULE_TYPES.get(placement.module).options, **dict(placement.options)}


def _normalise(placement: Placement, geometry: ModelGeometry) -> Placement:
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
    kept: list[tuple[str, Scalar]] = []
    for name, value in placement.options:
        if name not in defaults:
            problems.append(Problem.unknown(f"{placement.module}.options", name, defaults))
            continue
        typed = _as_type_of(defaults[name], value)
        if typed is None:
            wanted = "finite float" if isinstance(defaults[name], float) else type(defaults[name]).__name__
            problems.append(Problem(f"{placement.module}.options.{name}", value, f"must be a {wanted}"))
        elif typed != defaults[name]:
            kept.append((name, typed))
    if problems:
        raise InvalidInput(*problems)
    return replace(placement, options=tuple(kept))


def _as_type_of(default: Scalar, value: Scalar) -> Scalar | None:
    if isinstance(default, bool) or isinstance(value, bool):
        return value if isinstance(value, bool) and isinstance(default, bool) else None
    if isinstance(default, float):
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
    return value if isinstance(value, type(default)) else None


def _sites_of_kind(kinds: Iterable[str], geometry: ModelGeometry) -> str:
    names = dict.fromkeys(site.name for site in geometry.sites if site.kind in kinds)
    return ", ".join(names) or "no site of this model"


@lru_cache(maxsize=65536)
def _count_anywhere(module: str, site: Site, size: int, options: tuple[tuple[str, Scalar], ...]) -> int:
    module_type = MODULE_TYPES.get(module)
    with torch.device("meta"):
        built = module_type.build(site, size, {**module_type.options, **dict(options)})
    return sum(parameter.numel() for parameter in built.parameters())


def _count(module: str, site: Site, size: int, options: tuple[tuple[str, Scalar], ...]) -> int:
    # Like sites of different layers share one entry of the cache.
    return _count_anywhere(module, replace(site, layer=0, entry="", exit=""), size, options)
