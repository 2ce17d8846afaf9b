"""A package is a registry: every file in it is one implementation, and the file's stem is its name.

Names are listed without importing anything, so that help texts and error messages stay fast; an implementation
is imported when it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from autopeft.errors import InvalidInput, Problem

T = TypeVar("T")


class Registry(Generic[T]):
    """The implementations found in one package.

    Args:
        package: dotted name of the package, as ``autopeft.modules``.
        attribute: module-level name that every implementation defines, as ``MODULE_TYPE``.
        kind: what one implementation is called in messages, as ``module type``.
        contract: file stems of the package that are not implementations.
    """

    def __init__(self, package: str, attribute: str, kind: str, contract: frozenset[str]) -> None:
        self.package = package
        self.attribute = attribute
        self.kind = kind
        self._contract = contract

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all implementations, sorted, without importing them."""
        spec = importlib.util.find_spec(self.package)
        paths = list(spec.submodule_search_locations or []) if spec else []
        return tuple(sorted(m.name for m in pkgutil.iter_modules(paths) if m.name not in self._contract))

    def get(self, name: str) -> T:
        """Import and return the implementation of that name.

        Raises:
            InvalidInput: there is no such file; the message names the nearest ones.
        """
        if name not in self.names:
            raise InvalidInput(Problem.unknown(self.kind, name, self.names))
        module = importlib.import_module(f"{self.package}.{name}")
        return cast(T, getattr(module, self.attribute))

    def all(self) -> dict[str, T]:
        """Import every implementation and return them by name."""
        return {name: self.get(name) for name in self.names}


# Every extension point. The packages give each its contract's type; here they can be listed without importing them.
MODULE_TYPES: Registry[Any] = Registry(
    "autopeft.modules", "MODULE_TYPE", "module type", frozenset({"base", "attach", "attention", "plan"})
)
TASK_SOURCES: Registry[Any] = Registry(
    "autopeft.tasks", "TASK_SOURCE", "task source", frozenset({"base", "formats", "load", "metrics", "tabular"})
)
SAMPLERS: Registry[Any] = Registry("autopeft.samplers", "SAMPLER", "sampler", frozenset({"base"}))
EXECUTORS: Registry[Any] = Registry("autopeft.executors", "EXECUTOR", "executor", frozenset({"base"}))
EXPORTERS: Registry[Any] = Registry("autopeft.exporters", "EXPORTER", "format", frozenset({"base"}))
