"""``autopeft policies``: which trials can be stopped early."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List the policies, which decide which trials are stopped early."""
    from autopeft.cli.tables import print_implementations
    from autopeft.policies import POLICIES

    print_implementations("policy", POLICIES.all(), as_json)
