"""``autopeft list``: every search in the store."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List all searches, newest first."""
    import json
    from datetime import UTC, datetime

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.search import list_searches

    records = list_searches()
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
            r.id,
            r.state,
            r.spec.model,
            r.spec.task.name,
            r.spec.space,
            r.spec.budget,
            datetime.fromtimestamp(r.created, UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
        )
        for r in records
    ]
    print_table("", ("name", "id", "state", "model", "task", "space", "budget", "created"), table, Console())
