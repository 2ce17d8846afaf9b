"""``autopeft show``: one search, with every trial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autopeft.cli.options import AsJson, SearchName


def command(search: SearchName, as_json: AsJson = False) -> None:
    """Show what a search was asked for, how far it is, and its trials."""
    import json

    from rich.console import Console

    from autopeft.cli.place import find_place
    from autopeft.cli.tables import print_table

    found = find_place().search(search)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console = Console()
    for line in _describe(found):
        console.print(line, soft_wrap=True, markup=False)
    table = [
        (
            trial["trial"],
            trial["state"],
            f"{trial['params']:,}",
            "" if trial["score"] is None else f"{trial['score']:.4f}",
            f"{trial['seconds']:.1f}",
            trial["name"],
            ": ".join(part for part in (trial["reason"], trial["detail"]) if part),
        )
        for trial in found["trials"]
    ]
    headings = ("trial", "state", "params", "score", "seconds", "architecture", "reason")
    print_table("Trials (proxy scores on held-out rows)", headings, table, console, whole=headings[:5])


def _describe(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is known of a search; through a service, the rows of its task are not."""
    spec, facts = found["spec"], found["facts"]
    yield f"{found['name']} ({found['id']}): {found['state']} {found['detail']}".rstrip()
    yield f"model {spec['model']}, {facts['base_parameters']:,} parameters"
    yield f"task {spec['task']['name']}, {facts['kind'] + ' ' if 'kind' in facts else ''}by {facts['metric']}"
    if "rows" in facts:
        yield f"rows: {', '.join(f'{name} {count}' for name, count in facts['rows'].items())}"
    spent = f"{found['seconds']:.0f} s spent"
    yield f"space {spec['space']}, sampler {spec['sampler']}, budget {spec['budget']}, {spent}"
