"""``autopeft serve``: the REST service, the page, and a controller beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    host: Annotated[str, typer.Option(help="Address to listen to; any but 127.0.0.1 needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any that is free.", min=0, max=65535)] = 8000,
    controller: Annotated[
        bool,
        typer.Option("--controller/--no-controller", help="Work on submitted searches, or leave that to others."),
    ] = True,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Holds an administrator's token, as AUTOPEFT_TOKEN does.", metavar="FILE"),
    ] = None,
) -> None:
    """Serve the page and the REST API, and work on the searches that are submitted there. Ctrl-C ends it.

    On this machine alone no token is needed as long as none was made; see `autopeft token`.
    """
    import signal

    from autopeft.logs import configure
    from autopeft.service import server
    from autopeft.service.app import PATIENCE, make_app
    from autopeft.settings import Settings
    from autopeft.store import Store

    configure()
    settings = Settings.from_environment()
    store = Store(settings.database_url, PATIENCE)
    server.require_token(store, host, token_file)
    listening = server.listen(host, port)
    own = server.OwnController(settings) if controller else None
    is_alive = None if own is None else own.is_alive
    app = make_app(settings, store, loopback=server.is_loopback(host), own_controller=is_alive)
    print(server.address(listening), flush=True)
    print("serving; Ctrl-C ends it", file=sys.stderr)
    # Whoever ends this process, a person or a container's engine, ends the controller first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if own is not None:
            own.start()
        server.run(app, listening)
    finally:
        if own is not None:
            print("ending; the runs under way have a few seconds to finish", file=sys.stderr)
            own.end()
