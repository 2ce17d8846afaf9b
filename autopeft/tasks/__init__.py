"""Tasks: one file per source of them. :func:`load_task` is the way in."""

from autopeft.tasks.base import Split, TaskData, TaskSource
from autopeft.tasks.load import TASK_SOURCES, find_source, load_task

__all__ = ["TASK_SOURCES", "Split", "TaskData", "TaskSource", "find_source", "load_task"]
