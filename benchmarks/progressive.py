"""What does the search in stages end with? `progressive` in `design_spaces`, and its design beside others.

    python benchmarks/progressive.py OUT.md path/to/trec

After the search, its design, the S4 design of the paper and random architectures of the same space and budget are
trained alike and scored on validation rows that the search never saw: the two designs at three seeds each, the random
ones at one each. A finished search is kept under AUTOPEFT_HOME and is not run again.
"""

from __future__ import annotations

import random
import statistics
import sys
from pathlib import Path

from running import run_all

import autopeft
from autopeft.architecture import Architecture
from autopeft.cli.display import Display
from autopeft.errors import NotFound
from autopeft.evidence import Evidence
from autopeft.messages import Fidelity, TaskSpec, TrialRequest

PROXY = {"rows": 400, "epochs": 2, "evaluations": 1, "held_out_rows": 500}
TRAIN = Fidelity(rows=1500, epochs=2, evaluations=2, held_out_rows=500)
SAMPLES = 2
ANSWERS = 83
BASELINES = 8
SEEDS = (0, 1, 2)
RANDOM = 20


def main() -> None:
    """Search, train what is compared, and write the tables."""
    out, task = Path(sys.argv[1]), sys.argv[2]
    search = find_or_run(f"progressive-{Path(task).name}", task)
    evidence = search.evidence
    model = autopeft.describe_model("minilm")
    space = autopeft.load_space("design_spaces", model.geometry, model.parameters)
    found = space.decode(evidence.design)
    assert found is not None
    rng = random.Random(0)
    runs = {("the design found", seed): found for seed in SEEDS}
    runs |= {("S4, the paper's", seed): autopeft.preset("s4", model.geometry, model.parameters) for seed in SEEDS}
    runs |= {("random", index): space.sample(rng)[1] for index in range(RANDOM)}
    out.write_text(report(evidence, found, train(task, runs)), encoding="utf-8")
    print(out.read_text())


def find_or_run(name: str, task: str) -> autopeft.Search:
    """Return the finished search of a task."""
    try:
        search = autopeft.Search.load(name)
    except NotFound:
        budget = BASELINES + SAMPLES * ANSWERS
        search = autopeft.Search(
            name=name,
            task=task,
            space="design_spaces",
            sampler="progressive",
            budget=budget,
            proxy=PROXY,
            confirm=0,
        )
    return search.run(Display())


def train(task: str, runs: dict[tuple[str, int], Architecture]) -> dict[tuple[str, int], float]:
    """Return the validation score of every run."""
    names = {f"{name} {seed}": (name, seed) for name, seed in runs}
    requests = [
        TrialRequest(
            key=key,
            model="minilm",
            task=TaskSpec(name=task),
            architecture=runs[name, seed].to_dict(),
            fidelity=TRAIN,
            parts=("validation",),
            seed=seed % len(SEEDS),
        )
        for key, (name, seed) in names.items()
    ]
    scores: dict[tuple[str, int], float] = {}
    for done in run_all(requests):
        scores[names[done.key]] = done.scores["validation"]
        print(done.key, scores[names[done.key]], flush=True)
    return scores


def report(evidence: Evidence, found: Architecture, scores: dict[tuple[str, int], float]) -> str:
    """Return the tables."""
    lines = ["| stage | answers by mean score, best first |", "| --- | --- |"]
    for stage in evidence.stages:
        ranked = sorted(stage.answers, key=lambda answer: -(answer.mean or 0.0))
        lines.append(f"| {stage.stage} | {'; '.join(f'{answer.label} {answer.mean:.3f}' for answer in ranked[:5])} |")
    lines += ["", f"Design: {found.summary()}.", "", "| architecture | validation score |", "| --- | --- |"]
    for name in dict.fromkeys(name for name, _ in scores):
        own = [score for (other, _), score in scores.items() if other == name]
        spread = f"± {statistics.stdev(own):.4f}, best {max(own):.4f}" if len(own) > 1 else ""
        lines.append(f"| {name} ({len(own)} runs) | {statistics.fmean(own):.4f} {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
