"""The time of a search: what is spent, and what its budget leaves."""

from __future__ import annotations

import math
import time

LEAST_LIMIT = 1.0


class Clock:
    """Runs from when it is made.

    Args:
        before: seconds that the search had spent by then.

    Attributes:
        budget: seconds in all; without end where the budget is none of time.
    """

    def __init__(self, before: float) -> None:
        self.budget = math.inf
        self._zero = time.monotonic() - before

    @property
    def spent(self) -> float:
        """Seconds, those before among them."""
        return time.monotonic() - self._zero

    @property
    def left(self) -> float:
        """Seconds of the budget; below 0 once it is over."""
        return self.budget - self.spent

    def limit(self, most: float) -> float:
        """Return the seconds that a run may take which begins now: at most so many."""
        return max(LEAST_LIMIT, min(most, self.left))
