"""``autopeft cancel``: stop a search and keep what it has."""

from __future__ import annotations

import sys

from autopeft.cli.options import SearchName


def command(search: SearchName) -> None:
    """Cancel a search: runs under way finish, nothing more is started, what is done stays."""
    from autopeft.settings import Settings
    from autopeft.store import Store

    store = Store(Settings.from_environment().database_url)
    record = store.get(search)
    ended = record.state in ("done", "failed", "cancelled")
    if not ended:
        record = store.request_cancel(search)
    state = "cancelling" if record.state == "running" else f"{record.state}{' already' if ended else ''}"
    print(f"search {record.name}: {state}", file=sys.stderr)
