"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

SearchName = Annotated[
    str, typer.Argument(metavar="SEARCH", help="Id or name of a search; `autopeft list` shows them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]
Budget = Annotated[
    str | None,
    typer.Option(help="Trials (40), wall time (30m, 2h) or GPU time (4gpu-h). A hard stop."),
]
Pick = Annotated[
    str,
    typer.Option(help="best, knee, smallest, a trial's number, or 'params<=0.5%' (the best under a limit)."),
]
