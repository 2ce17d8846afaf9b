"""The contract of an export format: a recipe, and trained tensors if there are any, as files for another tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autopeft.recipe import Recipe


@dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes:
        summary: one line for people.
        losses: what the format cannot hold of a recipe, a reason each; empty where it holds everything.
        write: writes the files into a folder and returns their paths. The second argument is a safetensors file of
            trained tensors, named as :meth:`autopeft.modules.attach.Attachment.state_dict` names them, or None.
        lossy: whether there is anything to write where ``losses`` is not empty.
    """

    summary: str
    losses: Callable[[Recipe], tuple[str, ...]]
    write: Callable[[Recipe, Path | None, Path], list[Path]]
    lossy: bool = False
