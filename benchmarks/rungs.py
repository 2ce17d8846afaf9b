"""How much does a run's score at a rung say of what its architecture comes to? Kendall's tau, of every recorded task.

    python benchmarks/rungs.py [oracle/trec.jsonl.gz ...]

Of the architectures that were run at several seeds, a run's score at each rung is ranked against the mean of the other
runs at their end, which is what confirmation would say; the mean over the runs is shown. Architectures that cannot be
told from each other by the mean of all runs (ties) count as ties.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from autopeft.evaluation import Evaluation, read_evaluations

TABLES = sorted((Path(__file__).parent / "oracle").glob("*.jsonl.gz"))


def repeated(evaluations: Sequence[Evaluation]) -> np.ndarray:
    """Return the curves of what was run at all seeds, of shape ``(architectures, seeds, rungs)``."""
    runs: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for one in evaluations:
        if one.report.state == "complete" and one.decoded.placements:
            runs[one.decoded.fingerprint][one.seed] = [score for _, score in one.report.curve]
    most = max(map(len, runs.values()))
    return np.array([[same[seed] for seed in sorted(same)] for same in runs.values() if len(same) == most])


def taus(curves: np.ndarray) -> list[float]:
    """Return tau at every rung."""
    seeds = range(curves.shape[1])
    others = [np.delete(curves[:, :, -1], seed, axis=1).mean(1) for seed in seeds]
    return [
        statistics.fmean(kendalltau(curves[:, seed, rung], others[seed]).statistic for seed in seeds)
        for rung in range(curves.shape[2])
    ]


def main() -> None:
    """Print the table."""
    header = False
    for path in list(map(Path, sys.argv[1:])) or TABLES:
        evaluations = list(read_evaluations(path))
        report = evaluations[0].report
        if not header:
            shares = " | ".join(f"at {step / report.steps:.2f}" for step, _ in report.curve)
            print(f"| task | architectures | {shares} |\n| --- | --- |{' --- |' * len(report.curve)}")
            header = True
        curves = repeated(evaluations)
        cells = " | ".join(f"{tau:.2f}" for tau in taus(curves))
        print(f"| {evaluations[0].conditions.task.name} | {len(curves)} | {cells} |")


if __name__ == "__main__":
    main()
