"""``autopeft watch``: what happens to a search, as it happens."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import Any

import typer

from autopeft.cli.options import AsJson, SearchName

CODES = {"done": 0, "failed": 1, "cancelled": 1}
INTERRUPTED = 130
INFEASIBLE = 5


def command(search: SearchName, as_json: AsJson = False) -> None:
    """Follow a search until its end, from its beginning; --json prints one event a line.

    The exit code tells how it ended: 0 done, 1 failed or cancelled, 5 nothing meets its caps, 130 interrupted where it
    was started. Ctrl-C ends the watching, and not the search.
    """
    from autopeft.cli.place import find_place

    place = find_place()
    before = place.status(search)
    print(f"search {before['name']} ({before['id']}): {before['state']}", file=sys.stderr)
    events = place.events(before["id"])
    last = _print_json(events) if as_json else _show(events)
    found = place.status(before["id"])
    print(f"{found['state']}{': ' if found['detail'] else ''}{found['detail']}", file=sys.stderr)
    if found["state"] not in CODES:
        print(f"go on with: autopeft resume {shlex.quote(found['name'])}", file=sys.stderr)
    infeasible = found["state"] == last.get("state") and last.get("infeasible")
    raise typer.Exit(INFEASIBLE if infeasible else CODES.get(found["state"], INTERRUPTED))


def _print_json(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Print every event, and return the last one of a state."""
    import json

    last: dict[str, Any] = {}
    for event in events:
        print(json.dumps(event), flush=True)
        last = event["body"] if event["kind"] == "state" else last
    return last


def _show(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Show the progress on stderr, and return the last event of a state."""
    from autopeft.cli.display import Display
    from autopeft.progress import Progress

    last: dict[str, Any] = {}
    display = Display()
    with display.live("waiting for a controller"):
        for event in events:
            if event["kind"] == "progress":
                display(Progress(**event["body"]))
            elif event["kind"] == "state":
                last = event["body"]
    return last
