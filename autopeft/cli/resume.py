"""``autopeft resume``: go on with a search where it was."""

from __future__ import annotations

from typing import Annotated

import typer

from autopeft.cli.options import AsJson, SearchName


def command(
    search: SearchName,
    budget: Annotated[
        str | None, typer.Option(help="A new budget, or more of it: +20 trials, +10m. As it was if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Resume a search that was interrupted, killed or cancelled, or give a finished one more budget."""
    from autopeft.cli.search import run_and_print
    from autopeft.search import Search

    loaded = Search.load(search)
    loaded.prepare_resume(budget)
    run_and_print(loaded, as_json)
