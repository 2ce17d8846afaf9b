"""Carrying training requests out on two Ray workers, for the benchmarks beside this file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autopeft.executors import EXECUTORS, ExecutorOptions
from autopeft.messages import TrialReport, TrialRequest

WORKERS = 2


def run_all(requests: Sequence[TrialRequest]) -> Iterator[TrialReport]:
    """Yield every request's report as it comes in; a run that fails ends the benchmark."""
    executor = EXECUTORS.get("ray").start(ExecutorOptions(WORKERS))
    try:
        for request in requests:
            executor.submit(request)
        left = len(requests)
        while left:
            for report in executor.wait(60.0):
                assert report.state == "complete", report.detail
                left -= 1
                yield report
    finally:
        executor.close()
