"""An executor that trains nothing twice: what another search has run already is answered at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from autopeft.executors.base import Executor
from autopeft.messages import TrialReport, TrialRequest


class RecallingExecutor:
    """Hands to another executor what is not known.

    Args:
        executor: who trains.
        recall: returns the report that a request would get, or None where it is not known.
    """

    def __init__(self, executor: Executor, recall: Callable[[TrialRequest], TrialReport | None]) -> None:
        self._executor = executor
        self._recall = recall
        self._known: deque[TrialReport] = deque()

    @property
    def slots(self) -> int:
        """How many requests run at once."""
        return self._executor.slots

    @property
    def gpus(self) -> float:
        """How many GPUs are held for them."""
        return self._executor.gpus

    def submit(self, request: TrialRequest) -> None:
        """Take a request."""
        known = self._recall(request)
        if known is None:
            self._executor.submit(request)
        else:
            self._known.append(known)

    def wait(self, timeout: float) -> list[TrialReport]:
        """Return what is known first, one at a time, then what has come in."""
        return [self._known.popleft()] if self._known else self._executor.wait(timeout)

    def close(self) -> None:
        """Stop what runs and forget what was not fetched."""
        self._known.clear()
        self._executor.close()
