"""``autopeft front``: the answer of a search, as a table, as JSON or as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.options import AsJson, SearchName

if TYPE_CHECKING:
    from autopeft.answer import Answer
    from autopeft.client import Service


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
    from autopeft.client import Service

    service = Service.from_environment()
    answer = _here(search, plot or []) if service is None else _there(service, search, plot or [])
    for path in plot or []:
        print(f"wrote {path}", file=sys.stderr)
    if as_json:
        print(json.dumps(answer.to_dict(), indent=2))
    else:
        print_answer(answer, Console())


def _here(search: str, plots: list[Path]) -> Answer:
    """Return the answer of a search in the embedded store, drawn to each of the files."""
    from autopeft.search import Search

    answer = Search.load(search).answer
    for path in plots:
        from autopeft.plots import plot_front

        plot_front(answer, path)
    return answer


def _there(service: Service, search: str, plots: list[Path]) -> Answer:
    """Return the answer of a service's search, drawn to each of the files."""
    from autopeft.cli.told import read_answer
    from autopeft.errors import InvalidInput, Problem
    from autopeft.registry import PLOT_FORMATS
    from autopeft.storage import write_atomically

    kinds = [path.suffix.lower().removeprefix(".") for path in plots]
    for kind in kinds:
        if kind not in PLOT_FORMATS.names:
            raise InvalidInput(Problem.unknown(PLOT_FORMATS.kind, kind, PLOT_FORMATS.names))
    answer = read_answer(service.front(search))
    for path, kind in zip(plots, kinds, strict=True):
        write_atomically(path, service.plot(search, kind))
    return answer
