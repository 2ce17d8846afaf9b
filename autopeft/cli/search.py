"""``autopeft search``: the main job."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import typer

from autopeft.cli.options import AsJson, RayAddress
from autopeft.cli.request import takes_request
from autopeft.errors import AutopeftError

if TYPE_CHECKING:
    from autopeft.search import Search


@takes_request
def command(document: dict[str, Any], ray_address: RayAddress = None, as_json: AsJson = False) -> None:
    """Search: from a model, a task and a budget to a Pareto front.

    Without options it runs 40 trials of the `autopeft` space for MiniLM on the `docstrings` task, which needs no
    download. Ctrl-C ends it after the runs under way; however it ends, `autopeft resume` goes on where it was.

    Example: autopeft search --task reviews.csv --budget 30m --max-params 2% --name reviews
    """
    from autopeft.search import Search

    run_and_print(Search(**document), as_json)


def run_and_print(search: Search, as_json: bool) -> None:
    """Run a search with its progress on stderr, and print its answer on stdout."""
    import json
    import re
    import sys

    from rich.console import Console

    from autopeft.cli.display import Display, draining
    from autopeft.cli.tables import print_answer
    from autopeft.evidence import KEEPERS

    display = Display()
    name = search.record.name
    print(f"search {name} ({search.record.id})", file=sys.stderr)
    controller = search.controller(display)
    with draining(controller), display.live("starting the workers"):
        answer = controller.run()
    if as_json:
        print(json.dumps(answer.to_dict(), indent=2))
    else:
        print_answer(answer, Console())
    again = shlex.quote(name)
    if answer.state != "done":
        print(f"{answer.state}; go on with: autopeft resume {again}", file=sys.stderr)
        raise typer.Exit(130 if answer.state == "interrupted" else 1)
    if not answer.front:
        raise AutopeftError(f"no trial gave a score; `autopeft show {again}` has the reasons")
    if not as_json:
        out = f"{name}-recipe" if re.fullmatch(r"\w[\w-]*", name) else "recipe"
        if search.record.spec.sampler in KEEPERS:
            print(f"Why these: autopeft evidence {again}")
        print(f"Next: autopeft export {again} --pick knee --format recipe --out {out}")
