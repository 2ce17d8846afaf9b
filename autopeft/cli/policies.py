"""``autopeft policies``: which trials can be stopped early."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List the policies, which decide which trials are stopped early."""
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table
    from autopeft.policies import POLICIES

    found = POLICIES.all()
    if as_json:
        print(json.dumps([{"name": n, "summary": p.summary, "source": p.source} for n, p in found.items()], indent=2))
        return
    rows = [(name, policy.summary, policy.source) for name, policy in found.items()]
    print_table("", ("policy", "what it does", "source"), rows, Console())
