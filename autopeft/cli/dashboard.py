"""``autopeft dashboard``: Optuna's own dashboard on the embedded store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def command(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535, metavar="PORT")] = 8080,
) -> None:
    """Serve Optuna's dashboard of all searches to this machine.

    It has no login and can change and delete studies, so it listens on 127.0.0.1 alone. Ctrl-C ends it.
    """
    import socket

    from optuna_dashboard import run_server

    from autopeft.errors import Conflict
    from autopeft.settings import Settings
    from autopeft.trial import open_storage

    storage = open_storage(Settings.from_environment().database_url)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise Conflict(f"port {port} is taken; name another with --port")
    print(f"http://127.0.0.1:{port}/dashboard (Ctrl-C ends it)", file=sys.stderr)
    run_server(storage, host="127.0.0.1", port=port)
