"""What a search starts next: chosen as late as can be, but before a worker waits for it.

Every result teaches the sampler something, so that a step is best chosen when a worker is free for it. Two cases are
worth the loss. Where workers compute on GPUs of their own and choosing takes long beside a run, the next step is
chosen while all are busy. And what is left at the end, no more than a step a worker, is chosen together, so that the
longest run begins first and all end near each other.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

# Share of a run's time from which on choosing is taken to be long.
LONG = 0.05
# How many choices the time of the next one is told by.
RECENT = 5


class Upcoming(Generic[T]):
    """The steps of a search, one by one, some of them chosen ahead.

    Args:
        steps: yields the next step, choosing it only then.
        length: of a step's run, in any unit; the longest of those chosen for the end goes first.
        waits: whether a step says that nothing can be chosen before something that runs has ended.
    """

    def __init__(self, steps: Iterator[T], length: Callable[[T], float], waits: Callable[[T], bool]) -> None:
        self._steps = steps
        self._length = length
        self._waits = waits
        self._ahead: list[T] = []
        self._seconds: deque[float] = deque(maxlen=RECENT)

    @property
    def ahead(self) -> tuple[T, ...]:
        """Steps that were chosen and not taken yet."""
        return tuple(self._ahead)

    def take(self) -> T | None:
        """Return the next step, chosen now unless it was before; None where there is none any more."""
        return self._ahead.pop(0) if self._ahead else self._choose()

    def prepare_end(self, left: int) -> None:
        """Choose all that is left, and put the longest first.

        Args:
            left: how many steps the budget still allows.
        """
        while len(self._ahead) < left and self._keep(self._choose()):
            pass
        self._ahead.sort(key=self._length, reverse=True)

    def prepare_next(self, run_seconds: float) -> None:
        """Choose the next step if that takes long, while the workers are busy.

        Args:
            run_seconds: that a run takes.
        """
        if not self._ahead and self._seconds and statistics.median(self._seconds) > LONG * run_seconds:
            self._keep(self._choose())

    def _choose(self) -> T | None:
        began = time.monotonic()
        step = next(self._steps, None)
        self._seconds.append(time.monotonic() - began)
        return step

    def _keep(self, step: T | None) -> bool:
        """Keep a step for later, and return whether another can be chosen."""
        if step is None or self._waits(step):
            return False
        self._ahead.append(step)
        return True
