"""Is the front better than what people pick by habit? One search per task, confirmed, as a table.

    python benchmarks/quality.py OUT.md docstrings path/to/sst2 path/to/trec ...

A task is a name or a folder that `autopeft search --task` takes. Searches are the default ones, but confirmed on 1,500
rows, and with the experience of the other recorded tasks alone, as on a task that is new. They are kept under
AUTOPEFT_HOME, and those that are finished are not run again, so that the script can be stopped and started.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from experience import ship_others

import autopeft
from autopeft.answer import Answer
from autopeft.cli.display import Display
from autopeft.errors import NotFound

FULL = {"rows": 1500, "epochs": 2, "evaluations": 2, "held_out_rows": 500}
SEEDS = 3
METRICS = {"cola": "matthews"}


def main() -> None:
    out, tasks = Path(sys.argv[1]), sys.argv[2:]
    answers = {}
    for task in tasks:
        name = Path(task).name
        with tempfile.TemporaryDirectory() as folder:
            ship_others(name, Path(folder))
            answers[name] = search(name, task).run(Display()).answer
        out.write_text(report(answers), encoding="utf-8")
        print(report(answers))


def search(name: str, task: str) -> autopeft.Search:
    try:
        return autopeft.Search.load(name)
    except NotFound:
        return autopeft.Search(
            name=name,
            task={"name": task, "metric": METRICS.get(name)},
            budget=40,
            full=FULL,
            confirm=SEEDS,
        )


def report(answers: dict[str, Answer]) -> str:
    lines = [
        "| task | metric | head only | best baseline | best of the front | hypervolume | baselines alone | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, answer in answers.items():
        head = answer.baselines[0]
        best_baseline = max(answer.baselines, key=lambda row: row.score)
        best = answer.pick("best")
        ratio = answer.hypervolume / answer.baseline_hypervolume if answer.baseline_hypervolume else float("inf")
        lines.append(
            f"| {name} | {answer.metric} | {head.score:.3f} | {best_baseline.score:.3f} ({best_baseline.name}, "
            f"{best_baseline.params:,}) | {best.score:.3f} ({best.params:,}) | {answer.hypervolume:.3f} | "
            f"{answer.baseline_hypervolume:.3f} | {ratio:.2f} |"
        )
    for name, answer in answers.items():
        lines += [
            "",
            f"### {name}",
            "",
            "| params | score | deviation | seeds | architecture |",
            "| --- | --- | --- | --- | --- |",
        ]
        baselines = {row.trial for row in answer.baselines}
        for row in answer.front:
            mark = " (baseline)" if row.trial in baselines else ""
            lines.append(
                f"| {row.params:,} | {row.score:.4f} | {row.score_std:.4f} | {row.seeds} | {row.name}{mark} |"
            )
        dominated = [row for row in answer.baselines if row not in answer.front]
        lines += [
            "",
            "Dominated baselines: "
            + ("; ".join(f"{r.name} {r.params:,}: {r.score:.4f}" for r in dominated) or "none")
            + ".",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
