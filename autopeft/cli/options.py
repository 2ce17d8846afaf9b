"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

MODEL_HELP = "minilm, a folder with a Hugging Face model, or a hub id: ORG/NAME or ORG/NAME@REVISION."
SearchName = Annotated[
    str, typer.Argument(metavar="SEARCH", help="Id or name of a search; `autopeft list` shows them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]
Pick = Annotated[
    str,
    typer.Option(
        help="best, knee (where more parameters begin to buy little), smallest, a trial's number, or "
        "'params<=0.5%': the best within a limit.",
        metavar="PICK",
    ),
]
