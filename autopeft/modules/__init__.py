"""Module types: one file each, found by name. See :mod:`autopeft.modules.base` for the contract."""

from autopeft.modules.base import ModuleType
from autopeft.registry import Registry

__all__ = ["MODULE_TYPES", "ModuleType"]

MODULE_TYPES: Registry[ModuleType] = Registry(
    package="autopeft.modules",
    attribute="MODULE_TYPE",
    kind="module type",
    contract=frozenset({"base", "attach", "attention", "plan"}),
)
