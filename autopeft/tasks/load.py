"""From a task's name to its data."""

from __future__ import annotations

from autopeft import registry
from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TaskSpec
from autopeft.tasks.base import TaskData, TaskSource, assemble

TASK_SOURCES: registry.Registry[TaskSource] = registry.TASK_SOURCES


def load_task(spec: TaskSpec) -> TaskData:
    """Read, check and split a task.

    Raises:
        InvalidInput: no source knows the name, or its rows do not make a task.
    """
    return assemble(find_source(spec.name).read(spec), spec)


def find_source(name: str) -> TaskSource:
    """Return the source that a task's name is read from.

    Raises:
        InvalidInput: no source knows the name.
    """
    sources = sorted(TASK_SOURCES.all().values(), key=lambda source: source.fallback)
    for source in sources:
        if source.accepts(name):
            return source
    raise InvalidInput(Problem.unknown("task", name, [source.example for source in sources]))
