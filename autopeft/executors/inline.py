"""Runs requests one after another in this process: simplest to debug, and repeatable to the last digit."""

from __future__ import annotations

import importlib
from collections import deque

from autopeft.executors.base import Executor, ExecutorKind, ExecutorOptions
from autopeft.messages import TrialReport, TrialRequest


class InlineExecutor:
    """One slot; :meth:`wait` trains the oldest request and is not interrupted by its timeout."""

    slots = 1

    def __init__(self) -> None:
        self._waiting: deque[TrialRequest] = deque()
        # Workers are reached by name: nothing here imports them, so that this process needs torch only to train.
        self._run = importlib.import_module("workers.proxy").run

    def submit(self, request: TrialRequest) -> None:
        """Queue a request."""
        self._waiting.append(request)

    def wait(self, timeout: float) -> list[TrialReport]:
        """Train the oldest request and return its report."""
        if not self._waiting:
            return []
        report: TrialReport = self._run(self._waiting.popleft())
        return [report]

    def close(self) -> None:
        """Forget what was not started."""
        self._waiting.clear()


def _start(options: ExecutorOptions) -> Executor:
    return InlineExecutor()


EXECUTOR = ExecutorKind(summary="one after another in this process; repeatable", start=_start)
