"""Record what many architectures come to, at every rung, as a table that `--executor replay` trains from.

    python benchmarks/oracle.py OUT.jsonl path/to/trec
    python benchmarks/oracle.py OUT.jsonl docstrings 64    (texts cut after 64 tokens)

Of the `autopeft` space: random architectures spread over the cost axis, then changes of what is on their front, where
searches spend most of their trials. Of the `layerwise` space: random ones spread over the cost axis. The baselines and
some of the others are run at three seeds: the noise is part of the oracle. Two workers; a line is written as its run
comes in, and what is there already is not run again. ``gzip -9`` makes the file small.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from running import run_all

from autopeft.architecture import Architecture
from autopeft.base_models import describe_model
from autopeft.baselines import baselines
from autopeft.evaluation import Conditions, Evaluation, line, read_evaluations, write_evaluations
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings, TrialRequest
from autopeft.modules.plan import normalise
from autopeft.pareto import cost_axis, non_dominated
from autopeft.samplers.base import Setting
from autopeft.samplers.pool import changed
from autopeft.samplers.spread import Spread
from autopeft.space import SearchSpace, load_space
from autopeft.submission import package_versions
from autopeft.tasks import load_task

MODEL = "minilm"
FIDELITY = Fidelity(rows=400, epochs=3, evaluations=1, rungs=(1 / 9, 1 / 3, 2 / 3), held_out_rows=400)
# 75 steps on 400 rows: with batches of 32, ranks at a third of the training say little of those at its end.
TRAINING = TrainingSettings(batch_size=16)
SPREAD = {"autopeft": 200, "layerwise": 100}
CHANGED = 100
SEEDS = (0, 1, 2)
# Of the spread architectures, every so many are run at all seeds.
EVERY = 6


class Oracle:
    """What is recorded so far, and what is to come."""

    def __init__(self, out: Path, task: TaskSpec) -> None:
        self.out = out
        self.task = task
        self.model = describe_model(MODEL)
        data = load_task(self.task)
        self.conditions = Conditions(
            model=MODEL,
            model_hash=self.model.fingerprint,
            task=task.model_copy(update={"name": Path(task.name).name}),
            task_hash=data.fingerprint,
            metric=data.metric,
            fidelity=FIDELITY,
            training=TRAINING,
        )
        self.versions = package_versions()
        self.recorded: dict[tuple[str, int], Evaluation] = {}
        if out.exists():
            there = list(read_evaluations(out))
            write_evaluations(out, there)  # without a last line that was cut short
            self.recorded = {(one.decoded.fingerprint, one.seed): one for one in there}

    def record(self, architectures: list[Architecture], seeds: tuple[int, ...] = SEEDS[:1]) -> None:
        """Run what is not there yet."""
        wanted = {
            f"{architecture.fingerprint} {seed}": (architecture, seed)
            for seed in seeds
            for architecture in architectures
            if (architecture.fingerprint, seed) not in self.recorded
        }
        requests = [
            TrialRequest(
                key=key,
                model=MODEL,
                task=self.task,
                architecture=architecture.to_dict(),
                fidelity=FIDELITY,
                training=TRAINING,
                seed=seed,
            )
            for key, (architecture, seed) in wanted.items()
        ]
        with self.out.open("a", encoding="utf-8") as file:
            for report in run_all(requests):
                architecture, seed = wanted[report.key]
                self.recorded[architecture.fingerprint, seed] = one = Evaluation(
                    conditions=self.conditions,
                    architecture=architecture.to_dict(),
                    seed=seed,
                    report=report.model_copy(update={"key": ""}),
                    versions=self.versions,
                )
                file.write(line(one))
                file.flush()
                os.fsync(file.fileno())
                print(len(self.recorded), architecture.summary(), f"{report.scores['holdout']:.4f}", flush=True)

    def space(self, name: str) -> SearchSpace:
        """Return a space on the model."""
        return load_space(name, self.model.geometry, self.model.parameters)

    def spread(self, name: str) -> list[Architecture]:
        """Return random architectures of a space, spread over the cost axis."""
        space = self.space(name)
        spread = Spread(Setting(space, 0, lambda architecture: (architecture, space.params(architecture))), _rng(name))
        found: dict[str, Architecture] = {}
        index = 0
        while len(found) < SPREAD[name]:
            architecture = space.decode(spread.point(index))
            assert architecture is not None
            found.setdefault(architecture.fingerprint, architecture)
            index += 1
        return list(found.values())

    def near_front(self, space: SearchSpace, architectures: list[Architecture]) -> Iterator[Architecture]:
        """Yield architectures that differ in one or two choices from the front of these."""
        points = {decoded.fingerprint: point for point in space.points() if (decoded := space.decode(point))}
        runs = [(space.params(a), self.recorded[a.fingerprint, 0].report.scores["holdout"]) for a in architectures]
        front = [architectures[i] for i in non_dominated([(cost_axis(params), score) for params, score in runs])]
        rng, there = _rng("changed"), {architecture.fingerprint for architecture in architectures}
        while True:
            architecture = space.decode(changed(points[rng.choice(front).fingerprint], space, rng))
            if architecture is not None and architecture.fingerprint not in there:
                there.add(architecture.fingerprint)
                yield architecture


def _rng(name: str) -> random.Random:
    return random.Random(f"oracle {name}")


def main() -> None:
    length = {"max_length": int(sys.argv[3])} if len(sys.argv) > 3 else {}
    oracle = Oracle(Path(sys.argv[1]), TaskSpec(name=sys.argv[2], **length))
    made = [
        normalise(architecture, oracle.model.geometry) for architecture in baselines(oracle.model.geometry).values()
    ]
    spread = oracle.spread("autopeft")
    oracle.record([*made, *spread])
    near = oracle.near_front(oracle.space("autopeft"), spread)
    oracle.record([next(near) for _ in range(CHANGED)])
    layerwise = oracle.spread("layerwise")
    oracle.record(layerwise)
    oracle.record([*made, *[*spread, *layerwise][::EVERY]], SEEDS[1:])


if __name__ == "__main__":
    main()
