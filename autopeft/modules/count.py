"""The count of trainable parameters, taken from the real modules without any memory for their weights."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from autopeft.architecture import Architecture, Placement, Scalar
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.plan import full_options


def count_parameters(architecture: Architecture, geometry: ModelGeometry) -> int:
    """Return the trainable PEFT parameters, without the task head, of the real modules built on ``meta``."""
    return sum(_count(p, geometry.site(p.site, p.layer)) for p in architecture.placements)


@lru_cache(maxsize=65536)
def _count_anywhere(module: str, site: Site, size: int, options: tuple[tuple[str, Scalar], ...]) -> int:
    with torch.device("meta"):
        built = MODULE_TYPES.get(module).build(site, size, dict(options))
    return sum(parameter.numel() for parameter in built.parameters())


def _count(placement: Placement, site: Site) -> int:
    return _count_anywhere(placement.module, _anywhere(site), placement.size, tuple(full_options(placement).items()))


@lru_cache(maxsize=4096)
def _anywhere(site: Site) -> Site:
    """Return what is the same for like sites of all layers, so that they share one entry of the cache of counts."""
    return replace(site, layer=0, entry="", exit="")
