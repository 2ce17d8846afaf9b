"""What recorded runs teach about architectures in general, and how far that holds on a task that was not among them.

    python benchmarks/experience.py           a table: of every task, how well the others rank its architectures
    python benchmarks/experience.py --write   and write the experience that ships with the package, of all tasks

The runs are those of ``oracle/`` (see oracle.py). Of the tasks in its ``lessons/`` only architectures that are spread
over the cost axis were recorded: enough to learn from, too few to replay searches on.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from autopeft.base_models import describe_model
from autopeft.evaluation import Evaluation, read_evaluations
from autopeft.geometry import ModelGeometry
from autopeft.pareto import cost_axis
from autopeft.samplers import experience
from autopeft.samplers.experience import Experience
from autopeft.samplers.features import Features
from autopeft.warp import Floats

TABLES = sorted((Path(__file__).parent / "oracle").rglob("*.jsonl.gz"))


@dataclass(frozen=True)
class Recorded:
    """A task's architectures: their features, of shape ``(rows, features)``, costs and mean scores."""

    task: str
    geometry: ModelGeometry
    x: Floats
    costs: Floats
    scores: Floats
    runs: int


def recorded(path: Path) -> Recorded:
    """Read a table; head only is left out, which is no architecture to choose."""
    runs: dict[str, list[Evaluation]] = defaultdict(list)
    for one in read_evaluations(path):
        if one.report.state == "complete" and one.decoded.placements:
            runs[one.decoded.fingerprint].append(one)
    first = next(iter(runs.values()))[0].conditions
    geometry = describe_model(first.model).geometry
    features = Features(geometry)
    return Recorded(
        task=first.task.name,
        geometry=geometry,
        x=features.of_all([same[0].decoded for same in runs.values()]),
        costs=np.array([cost_axis(same[0].report.params) for same in runs.values()]),
        scores=np.array([np.mean([one.report.scores["holdout"] for one in same]) for same in runs.values()]),
        runs=sum(map(len, runs.values())),
    )


def learn(tables: Sequence[Recorded]) -> Experience:
    """Return what the tables teach."""
    evidence = [f"{table.task}: {len(table.scores)} architectures, {table.runs} runs" for table in tables]
    return Experience.learn([(table.geometry, table.x, table.scores) for table in tables], evidence)


@cache
def of_others(task: str) -> Experience:
    """Return what all recorded tasks but this one teach."""
    return learn([table for table in map(recorded, TABLES) if table.task != task])


def ship_others(task: str, folder: Path) -> None:
    """Let this process's searches begin with what is known of all recorded tasks but this one, as if it were new."""
    experience.FILE = folder / "experience.json"
    experience.FILE.write_text(json.dumps(of_others(task).to_dict()), encoding="utf-8")
    experience.shipped.cache_clear()


def main() -> None:
    """Print the table, and write the file where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write the experience that ships with the package")
    parser.add_argument("--tables", nargs="*", type=Path, default=TABLES)
    given = parser.parse_args()
    tables = [recorded(path) for path in given.tables]
    print("| task | architectures | tau of the other tasks' experience | of the parameters alone |")
    print("| --- | --- | --- | --- |")
    for table in tables:
        told = learn([other for other in tables if other is not table]).expect(table.geometry, table.x)
        taus = (kendalltau(ranks, table.scores).statistic for ranks in (told, table.costs))
        print(f"| {table.task} | {len(table.scores)} | {' | '.join(f'{tau:.2f}' for tau in taus)} |")
    if given.write:
        experience.FILE.write_text(json.dumps(learn(tables).to_dict()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
