"""The contract of an export format: a recipe, and trained tensors if there are any, as files for another tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autopeft.exporters.opened import Opened


@dataclass(frozen=True)
class Fit:
    """How a recipe fits into a format.

    Attributes:
        obstacles: why nothing can be written, a reason each.
        losses: what is left out or changed in what can be written, a reason each.
    """

    obstacles: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that the format does not hold; empty where it holds the recipe."""
        return (*self.obstacles, *self.losses)

    def writes(self, allow_lossy: bool) -> bool:
        """Whether it is written: where nothing is lost, or else where that is allowed and anything can be."""
        return not (self.obstacles if allow_lossy else self.reasons)


@dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes:
        summary: one line for people.
        tool: what reads it and the version that it was written for, as ``trl 1.16.0``.
        usage: what to type in the folder of the files; ``{outputs}`` stands for the outputs of the task
            head and ``{model}`` for the base model's folder or hub id.
        fit: what the format cannot hold.
        files: contents by file name, where there are no obstacles; each loss is told in one of them.
    """

    summary: str
    tool: str
    usage: str
    fit: Callable[[Opened], Fit]
    files: Callable[[Opened], dict[str, bytes]]
