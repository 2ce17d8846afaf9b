"""``autopeft controller``: work on what was submitted."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer


def command(
    once: Annotated[bool, typer.Option("--once", help="End when no search is waiting, in place of going on.")] = False,
) -> None:
    """Work on submitted searches, one after another, until stopped.

    Any number of controllers may run against one database; `autopeft serve` starts one by itself. SIGTERM or Ctrl-C
    finishes the runs under way and leaves the rest of the search to another controller; so does any crash.
    """
    from autopeft.dispatcher import Dispatcher
    from autopeft.logs import configure
    from autopeft.notices import notify
    from autopeft.search import open_store
    from autopeft.settings import empty_folder

    configure()
    with empty_folder():
        settings, store = open_store()
        dispatcher = Dispatcher(store, settings, notify)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: dispatcher.stop())
        print("controller: waiting for searches", file=sys.stderr)
        dispatcher.run(until_idle=once)
