"""``autopeft list``: every search in the store."""

from __future__ import annotations

import os

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List all searches, newest first; their ids, paths and options are in --json and `autopeft show`."""
    import json
    from datetime import UTC, datetime

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.settings import Settings
    from autopeft.store import Store

    records = Store(Settings.from_environment().database_url).list()
    if as_json:
        rows = [
            {
                "id": r.id,
                "name": r.name,
                "state": r.state,
                "created": r.created,
                "spec": r.spec.model_dump(mode="json"),
            }
            for r in records
        ]
        print(json.dumps(rows, indent=2))
        return
    if not records:
        print("no searches yet; start one with: autopeft search")
        return
    table = [
        (
            r.name,
            r.state,
            _short(r.spec.model),
            _short(r.spec.task.name),
            _short(r.spec.space),
            r.spec.budget,
            datetime.fromtimestamp(r.created, UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
        )
        for r in records
    ]
    headings = ("name", "state", "model", "task", "space", "budget", "created")
    print_table("", headings, table, Console(), whole=("state", "budget", "created"))


def _short(name: str) -> str:
    """Return a path's last part, and any other name as it is."""
    return os.path.basename(name) if os.path.isabs(name) else name
