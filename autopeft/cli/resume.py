"""``autopeft resume``: go on with a search where it was."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.options import AsJson, RayAddress, SearchName

if TYPE_CHECKING:
    from autopeft.client import Service


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
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a search that was interrupted, killed or cancelled, or give a finished one more budget.

    It is worked on here until it ends; that of a service, which AUTOPEFT_URL names, is queued there.
    """
    from autopeft.cli.search import run_and_print
    from autopeft.client import Service
    from autopeft.search import Search

    service = Service.from_environment()
    if service is not None:
        _queue(service, search, budget, as_json)
        return

    loaded = Search.load(search)
    if budget is None and loaded.record.state == "done":
        print("done already; give it more with --budget, as +20", file=sys.stderr)
    loaded.prepare_resume(budget)
    run_and_print(loaded, as_json)


def _queue(service: Service, search: str, budget: str | None, as_json: bool) -> None:
    import json
    import shlex

    from autopeft.cli.place import LISTED

    found = service.resume(search, budget)
    print(f"search {found['name']}: {found['state']}", file=sys.stderr)
    print(f"follow it with: autopeft watch {shlex.quote(found['name'])}", file=sys.stderr)
    if as_json:
        print(json.dumps({key: found[key] for key in LISTED}, indent=2))
