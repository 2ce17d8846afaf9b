"""The count of trainable parameters, taken from the real modules without any memory for their weights."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from autopeft.architecture import Architecture, Scalar
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES


def count_parameters(architecture: Architecture, geometry: ModelGeometry) -> int:
    """Return the trainable PEFT parameters, without the task head, of the real modules built on ``meta``."""
    return sum(_count(p.module, geometry.site(p.site, p.layer), p.size, p.options) for p in architecture.placements)


@lru_cache(maxsize=65536)
def _count_anywhere(module: str, site: Site, size: int, options: tuple[tuple[str, Scalar], ...]) -> int:
    module_type = MODULE_TYPES.get(module)
    with torch.device("meta"):
        built = module_type.build(site, size, {**module_type.options, **dict(options)})
    return sum(parameter.numel() for parameter in built.parameters())


def _count(module: str, site: Site, size: int, options: tuple[tuple[str, Scalar], ...]) -> int:
    # Like sites of different layers share one entry of the cache.
    return _count_anywhere(module, replace(site, layer=0, entry="", exit=""), size, options)
