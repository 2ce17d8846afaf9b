"""``autopeft spaces``: the search spaces that are shipped."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List the search spaces; a .yaml file of your own works by its path."""
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.space import load_document, space_names

    found = {name: load_document(name) for name in space_names()}
    if as_json:
        rows = [
            {"name": n, "summary": d.summary, "source": d.source, "modules": sorted(d.modules)}
            for n, d in found.items()
        ]
        print(json.dumps(rows, indent=2))
        return
    table = [(name, space.summary, ", ".join(space.modules), space.source) for name, space in found.items()]
    print_table("", ("space", "what is searched", "module types", "source"), table, Console())
