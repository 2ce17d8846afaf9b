"""``autopeft front``: the answer of a search, as a table, as JSON or as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.options import AsJson, SearchName


def command(
    search: SearchName,
    plot: Annotated[
        list[Path] | None,
        typer.Option(help="Also draw it: a .png, or a self-contained .html. May be given twice.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a search's Pareto front beside the baselines."""
    import json
    import sys

    from rich.console import Console

    from autopeft.cli.tables import print_answer
    from autopeft.search import Search

    answer = Search.load(search).answer
    for path in plot or []:
        from autopeft.plots import plot_front

        plot_front(answer, path)
        print(f"wrote {path}", file=sys.stderr)
    if as_json:
        print(json.dumps(answer.to_dict(), indent=2))
    else:
        print_answer(answer, Console())
