"""``autopeft samplers``: who can propose architectures."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List the samplers, which propose the architectures to try."""
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.samplers import SAMPLERS

    found = SAMPLERS.all()
    if as_json:
        print(json.dumps([{"name": n, "summary": s.summary, "source": s.source} for n, s in found.items()], indent=2))
        return
    rows = [(name, sampler.summary, sampler.source) for name, sampler in found.items()]
    print_table("", ("sampler", "what it does", "source"), rows, Console())
