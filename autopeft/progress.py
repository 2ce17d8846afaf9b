"""What a controller tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a search is, after each step.

    Attributes:
        phase: ``search`` or ``confirm``.
        done: runs finished in this phase, of ``total`` (None where the budget is time).
        seconds_left: estimate, or what the budget leaves.
        event: one line on what just happened, or empty.
    """

    phase: str
    done: int
    total: int | None
    running: int
    best: float | None
    hypervolume: float
    seconds: float
    seconds_left: float | None
    event: str


Listener = Callable[[Progress], None]
