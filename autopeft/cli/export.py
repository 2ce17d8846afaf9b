"""``autopeft export``: take a winner away, in a format that other tools read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.options import Pick, SearchName


def command(
    search: SearchName,
    out: Annotated[Path, typer.Option(help="Folder to write to; it is created.", metavar="DIR")],
    pick: Pick = "best",
    export_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="recipe (for `autopeft train`) or peft (an adapter that stock peft loads).",
            metavar="NAME",
        ),
    ] = "recipe",
) -> None:
    """Write the architecture of your choice for other tools.

    Trained modules go with it where the format holds them. A format that cannot hold the architecture is refused
    with exit code 7 and the reasons.

    Example: autopeft export reviews --pick knee --format recipe --out reviews-recipe
    """
    from autopeft.search import Search

    loaded = Search.load(search)
    row = loaded.pick(pick)
    print(f"trial {row.trial}: {row.name}, {row.params:,} params", file=sys.stderr)
    for path in loaded.export(export_format, out, pick=str(row.trial)):
        print(path)
