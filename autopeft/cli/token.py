"""``autopeft token``: who may use the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.options import AsJson

if TYPE_CHECKING:
    from autopeft.store import Store


def command(context: typer.Context) -> None:
    """Make, list and revoke the tokens of the service; as soon as there is one, the service asks for it."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def create(
    owner: Annotated[
        str, typer.Option(help="Whose it is; searches are submitted in that name.", metavar="NAME", show_default=False)
    ],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it allows: read, submit (and read), or admin (everything). May be given again.",
            metavar="SCOPE",
            show_default="submit",
        ),
    ] = None,
) -> None:
    """Make a token and print its secret, which is shown this once and kept nowhere.

    Example: export AUTOPEFT_TOKEN=$(autopeft token create --owner ada)
    """
    import sys

    token, secret = _store().tokens.create(owner, scope or ["submit"])
    print(f"{token.id}: {', '.join(token.scopes)} for {token.owner}; it is not shown again", file=sys.stderr)
    print(secret)


def list_tokens(as_json: AsJson = False) -> None:
    """List all tokens, without their secrets."""
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table, time_text

    tokens = _store().tokens.list()
    if as_json:
        print(json.dumps([vars(token) for token in tokens], indent=2))
        return
    rows = [
        (
            token.id,
            token.owner,
            ", ".join(token.scopes),
            time_text(token.created),
            "revoked" if token.revoked else "valid",
        )
        for token in tokens
    ]
    print_table("", ("id", "owner", "scopes", "created", "state"), rows, Console(), whole=("id", "state"))


def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="As `autopeft token list` shows it.", show_default=False)],
) -> None:
    """Make a token worthless, at once."""
    import sys

    _store().tokens.revoke(token)
    print(f"{token} is revoked", file=sys.stderr)


def _store() -> Store:
    from autopeft.settings import Settings
    from autopeft.store import Store

    return Store(Settings.from_environment().database_url)


SUBCOMMANDS = {"create": create, "list": list_tokens, "revoke": revoke}
