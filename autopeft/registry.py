"""A package is a registry: every file in it is one implementation, and the file's stem is its name.

Names are listed without importing anything, so that help texts and error messages stay fast; an implementation
is imported when it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from autopeft.errors import InvalidInput, Problem

T = TypeVar("T")


class Registry(Generic[T]):
    """The implementations found in one package.

    Args:
        package: dotted name of the package, as ``autopeft.modules``.
        attribute: module-level name that every implementation defines, as ``MODULE_TYPE``; a file of the package that
            does not define it is part of the machinery.
        kind: what one implementation is called in messages, as ``module type``.
        joint: what stands in a name where its file's stem has ``_``.
    """

    def __init__(self, package: str, attribute: str, kind: str, joint: str = "_") -> None:
        self.package = package
        self.attribute = attribute
        self.kind = kind
        self.joint = joint
        self._loaded: dict[str, T] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all implementations, sorted; files are read for it, not imported."""
        spec = importlib.util.find_spec(self.package)
        folders = [Path(path) for path in (spec.submodule_search_locations or [] if spec else [])]
        defines = re.compile(rf"^(?:def )?{re.escape(self.attribute)}\b", re.MULTILINE)
        files = [path for folder in folders for path in folder.glob("*.py")]
        stems = sorted(path.stem for path in files if defines.search(path.read_text(encoding="utf-8")))
        return tuple(stem.replace("_", self.joint) for stem in stems)

    def get(self, name: str) -> T:
        """Import and return the implementation of that name.

        Raises:
            InvalidInput: there is no such file; the message names the nearest ones.
        """
        if name not in self._loaded:
            if name not in self.names:
                raise InvalidInput(Problem.unknown(self.kind, name, self.names))
            module = importlib.import_module(f"{self.package}.{name.replace(self.joint, '_')}")
            self._loaded[name] = cast(T, getattr(module, self.attribute))
        return self._loaded[name]

    def all(self) -> dict[str, T]:
        """Import every implementation and return them by name."""
        return {name: self.get(name) for name in self.names}


# Every extension point of code. The packages give each its contract's type; here they can be listed without importing
# them.
MODULE_TYPES: Registry[Any] = Registry("autopeft.modules", "MODULE_TYPE", "module type")
TASK_SOURCES: Registry[Any] = Registry("autopeft.tasks", "TASK_SOURCE", "task source")
SAMPLERS: Registry[Any] = Registry("autopeft.samplers", "SAMPLER", "sampler")
POLICIES: Registry[Any] = Registry("autopeft.policies", "POLICY", "policy")
EXECUTORS: Registry[Any] = Registry("autopeft.executors", "EXECUTOR", "executor")
EXPORTERS: Registry[Any] = Registry("autopeft.exporters", "EXPORTER", "format", joint="-")
PLOT_FORMATS: Registry[Any] = Registry("autopeft.plots", "PLOT_FORMAT", "plot format")
COMMANDS: Registry[Any] = Registry("autopeft.cli", "command", "command")
