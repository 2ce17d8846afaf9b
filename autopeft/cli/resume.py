"""``autopeft resume``: go on with a search where it was."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from autopeft.cli.options import AsJson, SearchName


def command(
    search: SearchName,
    budget: Annotated[
        str | None,
        typer.Option(
            help="More than before (+20 trials, +10m), or a new one in all (60).",
            metavar="BUDGET",
            show_default="as it was",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a search that was interrupted, killed or cancelled, or give a finished one more budget."""
    from autopeft.cli.search import run_and_print
    from autopeft.search import Search

    loaded = Search.load(search)
    if budget is None and loaded.record.state == "done":
        print("done already; give it more with --budget, as +20", file=sys.stderr)
    loaded.prepare_resume(budget)
    run_and_print(loaded, as_json)
