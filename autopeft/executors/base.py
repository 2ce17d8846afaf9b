"""The contract of an executor: it carries training requests out and gives their reports back, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from autopeft.errors import Problem
from autopeft.executors.placement import GpuNeed
from autopeft.messages import TrialReport, TrialRequest


class Executor(Protocol):
    """Runs requests somewhere.

    A request's report comes back exactly once, whatever happens to the process that runs it: a run that is lost is
    started again by the executor, and after too many losses reported as failed.
    """

    @property
    def slots(self) -> int:
        """How many requests run at once."""

    @property
    def gpus(self) -> float:
        """How many GPUs are held for them, shares of one added up."""

    def submit(self, request: TrialRequest) -> None:
        """Take a request; it runs now or when a slot is free. Returns at once."""

    def wait(self, timeout: float) -> list[TrialReport]:
        """Return the reports that have come in, waiting up to ``timeout`` seconds for the first."""

    def close(self) -> None:
        """Stop what runs and give everything back. Reports that were not fetched are lost."""


@dataclass(frozen=True)
class ExecutorOptions:
    """What an executor may need to know.

    Attributes:
        workers: processes that train at the same time.
        ray_address: of a running cluster; None starts one on this machine.
        table: file of recorded runs that stand in for training.
        need: of a GPU's memory; None where that is not known.
        pack: runs that a worker carries out at once, in passes that they share where they can.
        fit: whether ``pack`` is only the most: on a GPU as many as have room there, and one on a CPU.
    """

    workers: int
    ray_address: str | None = None
    table: str | None = None
    need: GpuNeed | None = None
    pack: int = 1
    fit: bool = False


def _reads_none(table: str | None) -> Iterator[Problem]:
    if table is not None:
        yield Problem("table", table, "only the executor 'replay' reads one; add --executor replay")


@dataclass(frozen=True)
class ExecutorKind:
    """One way to run requests.

    Attributes:
        summary: one line for people.
        start: starts it.
        check: yields what is wrong with the table of recorded runs that a search names, or with its naming none.
    """

    summary: str
    start: Callable[[ExecutorOptions], Executor]
    check: Callable[[str | None], Iterable[Problem]] = _reads_none
