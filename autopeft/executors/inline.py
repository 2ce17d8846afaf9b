"""Runs requests in this process, one pack after another: simplest to debug, and repeatable to the last digit."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable

from autopeft.executors.base import Executor, ExecutorKind, ExecutorOptions
from autopeft.messages import TrialReport, TrialRequest


class InlineExecutor:
    """One worker; :meth:`wait` trains the oldest requests and is not interrupted by its timeout.

    Args:
        pack: how many requests are carried out at once.
    """

    def __init__(self, pack: int = 1) -> None:
        self.slots = pack
        self._waiting: deque[TrialRequest] = deque()
        # Workers are reached by name: nothing here imports them, so that this process needs torch only to train.
        self._run: Callable[[list[TrialRequest]], list[TrialReport]] = importlib.import_module("workers.packs").run_all

    @property
    def gpus(self) -> float:
        """The GPU that this process takes, if it sees one."""
        return float(importlib.import_module("workers.devices").pick_device().type == "cuda")

    def submit(self, request: TrialRequest) -> None:
        """Queue a request."""
        self._waiting.append(request)

    def wait(self, timeout: float) -> list[TrialReport]:
        """Train the oldest requests and return their reports."""
        oldest = [self._waiting.popleft() for _ in range(min(self.slots, len(self._waiting)))]
        return self._run(oldest)

    def close(self) -> None:
        """Forget what was not started."""
        self._waiting.clear()


def _start(options: ExecutorOptions) -> Executor:
    return InlineExecutor(1 if options.fit else options.pack)


EXECUTOR = ExecutorKind(summary="one after another in this process; repeatable", start=_start)
