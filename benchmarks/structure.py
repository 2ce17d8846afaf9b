"""Does structure search by gradients find better structures than chance? s3delta against random fills, as a table.

    python benchmarks/structure.py OUT.json path/to/sst2 path/to/trec ... [--seeds 3]

For every task, budget and seed: gates are trained on the training rows, and name a structure. Beside these, for every
task and budget: random structures, which are gates in random order filled up to the same budget. Every structure is
trained from scratch at as many seeds as --seeds says, and scored on the validation and test rows together, which
nothing saw before; its score is the mean over them, so that with several it is structures that are compared, not runs.
Two workers; results are kept in OUT.json as they come, and are not computed again.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from running import run_all

from autopeft.architecture import Architecture
from autopeft.base_models import describe_model
from autopeft.messages import Fidelity, GateSettings, Part, TaskSpec, TrainingSettings, TrialReport, TrialRequest
from autopeft.modules.plan import price
from autopeft.samplers.s3delta import fill
from autopeft.space import gates as gates_of
from autopeft.space import load_space
from autopeft.tasks import load_task

MODEL = "minilm"
SPACES = {"0.1%": "s3delta_m", "0.5%": str(Path(__file__).with_name("s3delta_wide.yaml"))}
SEARCHES = (0, 1, 2)
RANDOM = 20
PARTS: tuple[Part, ...] = ("validation", "test")
SEARCH_ROWS = 8000
TRAIN = Fidelity(rows=1500, epochs=2, evaluations=2, held_out_rows=500)


class Bench:
    """Requests still to be run, and the results so far."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.results: dict[str, dict[str, Any]] = json.loads(out.read_text()) if out.exists() else {}
        self.model = describe_model(MODEL)

    def run(self, requests: list[TrialRequest]) -> None:
        """Run what has no result yet on two workers."""
        for report in run_all([request for request in requests if request.key not in self.results]):
            self.keep(report)

    def keep(self, report: TrialReport) -> None:
        """Keep a report, on disk too."""
        self.results[report.key] = {
            "scores": {part: report.scores[part] for part in PARTS if part in report.scores},
            "params": report.params,
            "probabilities": report.probabilities,
            "seconds": round(report.seconds, 1),
        }
        self.out.write_text(json.dumps(self.results))
        print(report.key, self.results[report.key]["scores"], f"{report.seconds:.0f} s", flush=True)

    def everything(self, space_name: str) -> Architecture:
        """Return the architecture with every gate of the space on."""
        space = load_space(space_name, self.model.geometry, self.model.parameters)
        found = space.decode(dict.fromkeys(gates_of(space), True))
        assert found is not None
        return found

    def search_requests(self, task: str) -> list[TrialRequest]:
        """Return the structure searches of a task: one pass of the weights over their half of the rows."""
        rows = min(SEARCH_ROWS, len(load_task(TaskSpec(name=task)).train))
        steps = math.ceil(rows / 2 / TrainingSettings().batch_size)
        return [
            TrialRequest(
                key=f"{Path(task).name} {budget} gates {seed}",
                model=MODEL,
                task=TaskSpec(name=task),
                architecture=self.everything(space).to_dict(),
                fidelity=Fidelity(rows=SEARCH_ROWS),
                gates=GateSettings(budget=self.params(budget), steps=steps),
                seed=seed,
            )
            for budget, space in SPACES.items()
            for seed in SEARCHES
        ]

    def train_requests(self, task: str, seed: int) -> list[TrialRequest]:
        """Return the training runs, at one seed, of what was found and of random structures."""
        requests = []
        for budget, space in SPACES.items():
            everything = self.everything(space)
            orders = {
                f"found {s}": self.results[f"{Path(task).name} {budget} gates {s}"]["probabilities"] for s in SEARCHES
            }
            for index in range(RANDOM):
                rng = random.Random(index)
                orders[f"random {index}"] = [rng.random() for _ in everything.placements]
            for name, order in orders.items():
                requests.append(self.train(task, f"{budget} {name}", everything, order, budget, seed))
        return requests

    def train(
        self, task: str, key: str, everything: Architecture, order: list[float], budget: str, seed: int
    ) -> TrialRequest:
        """Return the run of the structure that a greedy fill makes of an order of the gates."""
        prices = [price(placement, self.model.geometry) for placement in everything.placements]
        kept = fill(order, prices, self.params(budget))
        chosen = Architecture(tuple(p for index, p in enumerate(everything.placements) if index in kept))
        return TrialRequest(
            key=f"{Path(task).name} {key} seed {seed}",
            model=MODEL,
            task=TaskSpec(name=task),
            architecture=chosen.to_dict(),
            fidelity=TRAIN,
            parts=PARTS,
            seed=seed,
        )

    def params(self, budget: str) -> int:
        """Return a percentage of the base model as a number of parameters."""
        return round(float(budget.rstrip("%")) / 100 * self.model.parameters)


def report(results: dict[str, dict[str, Any]], rows: dict[str, dict[str, int]], seeds: Sequence[int]) -> str:
    """Return the table."""
    lines = [
        "| task | budget | found, 3 searches | 20 random | best random | found minus random, in deviations |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for task, sizes in rows.items():

        def score(structure: str, task: str = task, sizes: dict[str, int] = sizes) -> float:
            runs = [results[f"{task} {structure} seed {seed}"]["scores"] for seed in seeds]
            return statistics.fmean(sum(run[p] * n for p, n in sizes.items()) / sum(sizes.values()) for run in runs)

        for budget in SPACES:
            found = [score(f"{budget} found {search}") for search in SEARCHES]
            chance = [score(f"{budget} random {index}") for index in range(RANDOM)]
            mean, deviation = statistics.fmean(chance), statistics.stdev(chance)
            ahead = (statistics.fmean(found) - mean) / deviation
            lines.append(
                f"| {task} | {budget} | {statistics.fmean(found):.4f} ({', '.join(f'{s:.4f}' for s in found)}) | "
                f"{mean:.4f} ± {deviation:.4f} | {max(chance):.4f} | {ahead:+.2f} |"
            )
    return "\n".join(lines)


def scored_rows(task: str) -> dict[str, int]:
    """Return how many rows each scored split has."""
    data = load_task(TaskSpec(name=task))
    return {"validation": len(data.validation), "test": len(data.test)}


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("out", type=Path, help="keep what is found in this file, and go on from it")
    parser.add_argument("tasks", nargs="+", help="tasks as `autopeft search --task` takes them")
    parser.add_argument("--seeds", type=int, default=3, help="runs of every structure")
    given = parser.parse_args()
    bench, tasks, seeds = Bench(given.out), given.tasks, range(given.seeds)
    bench.run([request for task in tasks for request in bench.search_requests(task)])
    for seed in seeds:
        bench.run([request for task in tasks for request in bench.train_requests(task, seed)])
    print(report(bench.results, {Path(task).name: scored_rows(task) for task in tasks}, seeds))


if __name__ == "__main__":
    main()
