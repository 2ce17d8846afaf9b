"""Module types: one file each, found by name. See :mod:`autopeft.modules.base` for the contract."""

from autopeft import registry
from autopeft.modules.base import ModuleType

__all__ = ["MODULE_TYPES", "ModuleType"]

MODULE_TYPES: registry.Registry[ModuleType] = registry.MODULE_TYPES
