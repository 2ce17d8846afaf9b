"""``autopeft export``: take a winner away, in a format that other tools read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.options import Pick, SearchName
from autopeft.errors import LossyExport

if TYPE_CHECKING:
    from autopeft.client import Service


def command(
    search: SearchName,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write one format to; it is created.", metavar="DIR")
    ] = None,
    every: Annotated[
        Path | None,
        typer.Option(
            "--all",
            help="Folder for every format that holds the winner, in sub-folders, with a README.md.",
            metavar="DIR",
        ),
    ] = None,
    pick: Pick = "best",
    export_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="recipe (the default; for `autopeft train`), peft, script, adapters, axolotl, llama-factory or trl.",
            metavar="NAME",
        ),
    ] = None,
    allow_lossy: Annotated[
        bool, typer.Option("--allow-lossy", help="Write what a format can hold, with a list of what it loses in it.")
    ] = False,
) -> None:
    """Write the architecture of your choice for other tools.

    Trained modules go with it where the format holds them. A format that cannot hold the architecture is refused
    with exit code 7 and the reasons.

    Example: autopeft export reviews --pick knee --format recipe --out reviews-recipe
    """
    from autopeft.client import Service

    _check(out, every, export_format)
    service = Service.from_environment()
    if service is not None:
        for path in _fetch(service, search, pick, out, export_format or "recipe", every, allow_lossy):
            print(path)
        return

    from autopeft.exporters import export, export_all
    from autopeft.search import Search
    from autopeft.winner import make_recipe

    loaded = Search.load(search)
    row = loaded.pick(pick)
    recipe, weights = make_recipe(loaded.record, row, loaded.baselines), loaded.weights(row)
    print(f"trial {row.trial}: {row.name}, {row.params:,} params", file=sys.stderr)
    if every is not None:
        paths = export_all(recipe, weights, every, allow_lossy)
        print(f"what to type for each format, and why others are not there: {every / 'README.md'}", file=sys.stderr)
    else:
        assert out is not None, "checked above"
        paths = export(recipe, export_format or "recipe", weights, out, allow_lossy)
    for path in paths:
        print(path)


def _check(out: Path | None, every: Path | None, export_format: str | None) -> None:
    from autopeft.errors import InvalidInput, Problem

    if (out is None) == (every is None):
        raise InvalidInput(Problem("out", None, "give --out DIR for one format, or --all DIR for every format"))
    if every is not None and export_format is not None:
        raise InvalidInput(Problem("format", export_format, "--all writes every format; leave --format out"))


def _fetch(
    service: Service, search: str, pick: str, out: Path | None, export_format: str, every: Path | None, lossy: bool
) -> Iterator[Path]:
    """Write what a service exports, and yield the files."""
    from autopeft.storage import write_atomically

    fits = service.fits(search, pick)
    trial = str(fits["pick"])
    print(f"trial {trial}", file=sys.stderr)
    formats = {export_format: out} if every is None else {one["name"]: every / one["name"] for one in fits["formats"]}
    for name, folder in formats.items():
        try:
            files = service.export(search, name, trial, lossy)
        except LossyExport as error:
            if every is None:
                raise
            print(error, file=sys.stderr)
            continue
        for path, content in sorted(files.items()):
            assert folder is not None, "checked above"
            write_atomically(folder / path, content)
            yield folder / path
