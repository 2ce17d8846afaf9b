"""``autopeft list``: every search in the store."""

from __future__ import annotations

import os

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List all searches, newest first; their ids, paths and options are in --json and `autopeft show`."""
    import json

    from rich.console import Console

    from autopeft.cli.place import find_place
    from autopeft.cli.tables import print_table, time_text

    searches = find_place().searches()
    if as_json:
        print(json.dumps(searches, indent=2))
        return
    if not searches:
        print("no searches yet; start one with: autopeft search")
        return
    table = [
        (
            one["name"],
            one["state"],
            _short(one["spec"]["model"]),
            _short(one["spec"]["task"]["name"]),
            _short(one["spec"]["space"]),
            one["spec"]["budget"],
            time_text(one["created"]),
        )
        for one in searches
    ]
    headings = ("name", "state", "model", "task", "space", "budget", "created")
    print_table("", headings, table, Console(), whole=("state", "budget", "created"))


def _short(name: str) -> str:
    """Return a path's last part, and any other name as it is."""
    return os.path.basename(name) if os.path.isabs(name) else name
