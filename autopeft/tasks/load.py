"""From a task's name to its data."""

from __future__ import annotations

from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TaskSpec
from autopeft.registry import Registry
from autopeft.tasks.base import TaskData, TaskSource, assemble

TASK_SOURCES: Registry[TaskSource] = Registry(
    package="autopeft.tasks",
    attribute="TASK_SOURCE",
    kind="task",
    contract=frozenset({"base", "load", "metrics"}),
)


def load_task(spec: TaskSpec) -> TaskData:
    """Read, check and split a task.

    Raises:
        InvalidInput: no source knows the name, or its rows do not make a task.
    """
    for source in TASK_SOURCES.all().values():
        if source.accepts(spec.name):
            return assemble(source.read(spec), spec)
    examples = [source.example for source in TASK_SOURCES.all().values()]
    raise InvalidInput(Problem.unknown("task", spec.name, examples))
