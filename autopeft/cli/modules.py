"""``autopeft modules``: the module types that architectures are made of."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List the PEFT module types: what each does, where it can go, and its options."""
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.modules import MODULE_TYPES

    found = MODULE_TYPES.all()
    if as_json:
        rows = [
            {
                "name": name,
                "summary": kind.summary,
                "source": kind.source,
                "site_kinds": sorted(kind.kinds),
                "sized": kind.sized,
                "options": dict(kind.options),
            }
            for name, kind in found.items()
        ]
        print(json.dumps(rows, indent=2))
        return
    table = [
        (
            name,
            kind.summary,
            ", ".join(sorted(kind.kinds)),
            ", ".join(f"{option}={value}" for option, value in kind.options.items()),
            kind.source,
        )
        for name, kind in found.items()
    ]
    print_table("", ("module type", "what it does", "site kinds", "options", "source"), table, Console())
