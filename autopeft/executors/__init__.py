"""Executors: one file each, found by name. See :mod:`autopeft.executors.base` for the contract."""

from autopeft import registry
from autopeft.executors.base import Executor, ExecutorKind, ExecutorOptions

__all__ = ["EXECUTORS", "Executor", "ExecutorKind", "ExecutorOptions"]

EXECUTORS: registry.Registry[ExecutorKind] = registry.EXECUTORS
