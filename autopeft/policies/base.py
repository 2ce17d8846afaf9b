"""The contract of a policy: it says what a trial must reach at each rung to be trained on.

A trial's parameters are known before it starts. So whatever a policy holds against it comes down to one number a rung,
the least score there, which is told to the worker with the request: no trial waits for an answer, and a trial that is
started again, or replayed from a table, is stopped at the same place. The bars are those of what is known when the
trial starts; what finishes beside it raises those of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from autopeft.messages import Bar, Fidelity
from autopeft.trial import Trial


class Bars(Protocol):
    """Makes the bars of one trial."""

    def __call__(self, params: int, fidelity: Fidelity, past: Sequence[Trial]) -> tuple[Bar, ...]:
        """Return what a trial of so many parameters must reach.

        Args:
            params: trainable parameters of the trial.
            fidelity: of the trial, with the rungs at which it may be stopped.
            past: the search's trials so far, at that fidelity.
        """


@dataclass(frozen=True)
class Policy:
    """One way to stop trials early.

    Attributes:
        summary: one line for people.
        source: paper or library.
        bars: makes the bars of a trial.
        rungs: returns the shares of a fidelity's training after which it needs scores, beside its own rungs.
    """

    summary: str
    source: str
    bars: Bars
    rungs: Callable[[Fidelity], tuple[float, ...]] = lambda fidelity: ()
