"""Samplers: one file each, found by name. See :mod:`autopeft.samplers.base` for the contract."""

from autopeft import registry
from autopeft.samplers.base import Sampler

__all__ = ["SAMPLERS", "Sampler"]

SAMPLERS: registry.Registry[Sampler] = registry.SAMPLERS
