"""``autopeft train``: retrain a recipe at full fidelity."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.options import AsJson

if TYPE_CHECKING:
    from autopeft.messages import TrialReport
    from autopeft.retrain import Comparison


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe.yaml, as `autopeft export` writes it.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained model; it is created.", metavar="DIR")],
    seeds: Annotated[
        int, typer.Option(help="How many seeds to train; the best on held-out rows is kept.", min=1, metavar="N")
    ] = 1,
    executor: Annotated[
        str, typer.Option(help="inline, or ray to train seeds side by side.", metavar="NAME")
    ] = "inline",
    workers: Annotated[int, typer.Option(help="Training processes at a time, with ray.", min=1, metavar="N")] = 1,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Write DIR/merged as well: the modules folded into the base model, for programs without AutoPEFT.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe in full, and save a model that `autopeft predict` loads.

    Its scores on the validation and test splits are the mean over the seeds. DIR has a model card beside the model.
    With --merge, an architecture with modules that cannot be folded is refused with exit code 7 and the reasons.
    """
    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.recipe import read_recipe
    from autopeft.retrain import retrain
    from autopeft.settings import Settings

    def listener(seed: int, report: TrialReport) -> None:
        outcome = f"failed ({report.reason})" if report.state == "failed" else f"{report.seconds:.1f} s"
        print(f"seed {seed}: {outcome}", file=sys.stderr)

    def warn(warning: str) -> None:
        print(f"warning: {warning}", file=sys.stderr)

    address = Settings.from_environment().ray_address
    summary = retrain(
        read_recipe(recipe), range(seeds), out, executor, workers, listener, address, merged=merge, warn=warn
    )
    for warning in summary.warnings:
        warn(warning)
    if as_json:
        print((summary.folder / "metrics.json").read_text(encoding="utf-8"))
        return
    rows = [
        (part, metric, f"{spread.mean:.4f}", "" if spread.std is None else f"{spread.std:.4f}")
        for part, metrics in summary.scores.items()
        for metric, spread in metrics.items()
    ]
    print_table(f"{seeds} seed(s)", ("split", "metric", "mean", "deviation"), rows, Console())
    if summary.comparison is not None:
        print(_compared(summary.comparison))
    print(f"wrote {summary.folder}; use it: autopeft predict {shlex.quote(str(summary.folder))} --input FILE")


def _compared(found: Comparison) -> str:
    of_proxy = "" if found.confirmed else " (of a short proxy run)"
    return (
        f"{found.split} {found.metric}: {found.now:.4f} now, {found.recipe:.4f} in the recipe{of_proxy}, "
        f"{found.points:+.2f} points"
    )
