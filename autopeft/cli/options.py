"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

MODEL_HELP = "minilm, a folder with a Hugging Face model, or a hub id: ORG/NAME or ORG/NAME@REVISION."
SearchName = Annotated[
    str, typer.Argument(metavar="SEARCH", help="Id or name of a search; `autopeft list` shows them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]


def _to_environment(address: str | None) -> str | None:
    """Put a Ray address where the settings are read from, and above what is there."""
    if address is not None:
        os.environ["AUTOPEFT_RAY_ADDRESS"] = address
        os.environ.pop("AUTOPEFT_RAY_ADDRESS_FILE", None)
    return address


RayAddress = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of the head of a running Ray cluster.",
        metavar="ADDRESS",
        show_default="AUTOPEFT_RAY_ADDRESS",
        callback=_to_environment,
    ),
]
Pick = Annotated[
    str,
    typer.Option(
        help="best, knee (where more parameters begin to buy little), smallest, a trial's number, or "
        "'params<=0.5%': the best within a limit.",
        metavar="PICK",
    ),
]
