"""``autopeft dashboard``: Optuna's own dashboard on the embedded store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def command(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 8080,
) -> None:
    """Open Optuna's dashboard on all searches, on this machine alone. It can change the store: keep it to yourself."""
    from optuna_dashboard import run_server

    from autopeft.settings import Settings
    from autopeft.study import open_storage

    storage = open_storage(Settings.from_environment().database_url)
    print(f"http://127.0.0.1:{port}/dashboard (Ctrl-C ends it)", file=sys.stderr)
    run_server(storage, host="127.0.0.1", port=port)
