"""``autopeft cancel``: stop a search and keep what it has."""

from __future__ import annotations

import sys

from autopeft.cli.options import SearchName


def command(search: SearchName) -> None:
    """Cancel a search: runs under way finish, nothing more is started, what is done stays."""
    from autopeft.search import Search

    loaded = Search.load(search)
    loaded.cancel()
    state = loaded.record.state
    print(f"search {loaded.record.name}: {'cancelling' if state == 'running' else state}", file=sys.stderr)
