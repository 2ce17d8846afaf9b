"""``autopeft evaluations``: every training run that any search made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.options import AsJson


def command(
    search: Annotated[str | None, typer.Option(help="Of this search alone: its id or name.", metavar="SEARCH")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write them there instead, a JSON line each; compressed if the name ends in .gz. It is what "
            "`autopeft search --executor replay --table` reads.",
            metavar="FILE",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the training runs of all searches, oldest first. A new search runs none of them again."""
    import sys

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.evaluation import line, write_evaluations
    from autopeft.settings import Settings
    from autopeft.store import Store

    store = Store(Settings.from_environment().database_url)
    wanted = None if search is None else store.get(search).id
    found = store.all_evaluations(wanted)
    if out is not None:
        print(f"wrote {write_evaluations(out, found)} evaluations to {out}", file=sys.stderr)
        return
    if as_json:
        print("[" + ",\n".join(line(one).strip() for one in found) + "]")
        return
    rows = [
        (
            Path(one.conditions.model).name,
            Path(one.conditions.task.name).name,
            f"{one.report.params:,}",
            ", ".join(f"{part} {score:.4f}" for part, score in one.report.scores.items()) or str(one.report.reason),
            one.seed,
            f"{one.report.seconds:.1f}",
            one.decoded.summary(),
        )
        for one in found
    ]
    if not rows:
        print("no evaluations yet; a search makes them: autopeft search")
        return
    headings = ("model", "task", "params", "score", "seed", "seconds", "architecture")
    print_table("", headings, rows, Console(), whole=headings[2:6])
