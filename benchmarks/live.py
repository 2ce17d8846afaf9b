"""Is the confirmed front better for the same training? `known_cost` with its policy against Optuna's TPE, live.

    RAY_worker_niceness=0 python benchmarks/live.py OUT.json docstrings path/to/trec path/to/subj [--seeds 3]

For every task and seed: a search of 40 trials by `known_cost` with the policy `optimistic`, then one by `tpe` (that of
Optuna, with first points spread over the cost axis) without a policy, of as many trials as the first took training
steps. Both begin without hand-made architectures and from an empty store, and `known_cost` with the experience of the
other recorded tasks alone, as on a task that is new to it. Fronts and runners-up are confirmed at up to three seeds;
what is compared is the hypervolume of the confirmed means above that of head only. Two workers. Results are kept in
OUT.json as they come, seed by seed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from experience import ship_others
from kept import Kept
from running import run_all

import autopeft
from autopeft.architecture import Architecture
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings, TrialRequest
from autopeft.pareto import cost_axis, hypervolume

MODEL = "minilm"
TRIALS = 40
CONFIRM = 3
TRAINING = TrainingSettings(batch_size=16)
PROXY = Fidelity(rows=400, epochs=3, evaluations=1, rungs=(1 / 9, 1 / 3), held_out_rows=400)
FULL = Fidelity(rows=800, epochs=3, evaluations=2, held_out_rows=400)
OURS, PEER = "known_cost", "tpe"


def search(task: str, seed: int, sampler: str, trials: int) -> dict[str, Any]:
    """Return what a search found and what it took."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["AUTOPEFT_HOME"] = home
        ship_others(Path(task).name, Path(home))
        run = autopeft.Search(
            model=MODEL,
            task=task,
            budget=trials,
            sampler=sampler,
            policy="optimistic" if sampler == OURS else "none",
            warm_start="none",
            baselines=False,
            seed=seed,
            training=TRAINING.model_dump(),
            proxy=PROXY.model_dump(),
            full=FULL.model_dump(),
            confirm=CONFIRM,
        ).run()
        answer = run.answer
        confirmed = [row for row in (*answer.front, *answer.others) if row.confirmed]
        return {
            "front": [(row.params, row.score) for row in answer.front if row.confirmed],
            "trials": len(run.trials),
            "trainings": sum(trial.share for trial in run.trials),
            "confirmations": sum(row.seeds for row in confirmed),
            "base_parameters": answer.base_parameters,
        }


def head_only(task: str) -> list[float]:
    """Return the scores of head only at the seeds of confirmation."""
    requests = [
        TrialRequest(
            key=str(seed),
            model=MODEL,
            task=TaskSpec(name=task),
            architecture=Architecture().to_dict(),
            training=TRAINING,
            fidelity=FULL,
            parts=("validation",),
            seed=seed,
        )
        for seed in range(CONFIRM)
    ]
    return [report.scores["validation"] for report in run_all(requests)]


class Contest:
    """Both sides on one task, from wherever the file of results stands."""

    def __init__(self, kept: Kept, task: str) -> None:
        self._kept = kept
        self._task = task
        self._name = Path(task).name
        self._areas: dict[str, list[float]] = {OURS: [], PEER: []}
        self._runs: dict[str, list[int]] = {OURS: [], PEER: []}
        self._trainings: list[float] = []

    def run(self, seed: int) -> None:
        """Search with both, where that is not kept yet."""
        task, name, kept = self._task, self._name, self._kept
        head = statistics.fmean(kept.get(f"{name} head", lambda: head_only(task)))
        ours = kept.get(f"{name} {OURS} {seed}", lambda: search(task, seed, OURS, TRIALS))
        peer = kept.get(f"{name} {PEER} {seed}", lambda: search(task, seed, PEER, round(ours["trainings"])))
        reference = (cost_axis(ours["base_parameters"]), head)
        for sampler, found in ((OURS, ours), (PEER, peer)):
            points = [(cost_axis(params), score) for params, score in found["front"]]
            self._areas[sampler].append(hypervolume(points, reference))
            self._runs[sampler].append(found["confirmations"])
        self._trainings.append(ours["trainings"])
        print(f"{name} seed {seed}: {self._areas[OURS][-1]:.3f} and {self._areas[PEER][-1]:.3f}", flush=True)

    def row(self) -> str:
        """Return the task's row of the table."""
        ratios = [ours / peer for ours, peer in zip(*self._areas.values(), strict=True)]
        cells = [", ".join(f"{area:.3f}" for area in areas) for areas in self._areas.values()]
        spent = ", ".join(f"{trainings:.0f}" for trainings in self._trainings)
        confirmed = " and ".join(", ".join(map(str, runs)) for runs in self._runs.values())
        return f"| {self._name} | {spent} | {confirmed} | {cells[0]} | {cells[1]} | {statistics.fmean(ratios):.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    sizes = {"training": TRAINING, "proxy": PROXY, "full": FULL}
    kept = Kept(given.out, {"trials": TRIALS, **{name: size.model_dump() for name, size in sizes.items()}})
    contests = [Contest(kept, task) for task in given.tasks]
    for seed in range(given.seeds):
        for contest in contests:
            contest.run(seed)
    print(f"| task | trainings | runs to confirm | {OURS} + optimistic | {PEER} | mean ratio |\n{'| --- ' * 6}|")
    print("\n".join(contest.row() for contest in contests))


if __name__ == "__main__":
    main()
