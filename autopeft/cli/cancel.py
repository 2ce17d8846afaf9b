"""``autopeft cancel``: stop a search and keep what it has."""

from __future__ import annotations

import sys

from autopeft.cli.options import SearchName


def command(search: SearchName) -> None:
    """Cancel a search: nothing more is started, runs under way are ended, what is done stays.

    A run that is ended is a failed trial with the reason `stopped`; with the executor `inline` it finishes first.
    """
    from autopeft.cli.place import find_place

    found, ended = find_place().cancel(search)
    state = "cancelling" if found["state"] == "running" else f"{found['state']}{' already' if ended else ''}"
    print(f"search {found['name']}: {state}", file=sys.stderr)
