"""``autopeft submit``: a search for whichever controller is free."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.cli.options import AsJson
from autopeft.cli.request import takes_request
from autopeft.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from autopeft.client import Service

FILES = (".csv", ".tsv", ".jsonl", ".parquet")


@takes_request
def command(document: dict[str, Any], as_json: AsJson = False) -> None:
    """Submit a search and return at once with its id; the options are those of `autopeft search`.

    Where AUTOPEFT_URL names a service it is sent there, with the data file of its task. Otherwise it waits in this
    machine's store for an `autopeft controller` or an `autopeft serve`. Follow it with `autopeft watch`.

    Example: autopeft submit --task reviews.csv --budget 30m --max-params 2% --name reviews
    """
    import json
    import shlex

    from autopeft.client import Service

    service = Service.from_environment()
    found = _queue(document) if service is None else _send(service, document)
    print(f"search {found['name']} ({found['id']}): {found['state']}", file=sys.stderr)
    print(f"follow it with: autopeft watch {shlex.quote(found['name'])}", file=sys.stderr)
    print(json.dumps(found, indent=2) if as_json else found["id"])


def _queue(document: dict[str, Any]) -> dict[str, Any]:
    """Queue a search in the embedded store."""
    from autopeft.cli.place import LISTED, describe
    from autopeft.search import open_store
    from autopeft.store import Submission
    from autopeft.submission import submit_options
    from autopeft.warm_start import create_search

    plan, facts = submit_options(document)
    settings, store = open_store()
    record = create_search(store, settings, plan.spec, facts, plan.warm_start, Submission("local"))
    return describe(record, LISTED)


def _send(service: Service, document: dict[str, Any]) -> dict[str, Any]:
    """Send a search to a service, and the data file that it names before it."""
    from autopeft.cli.place import LISTED

    task = document.get("task")
    named = task if isinstance(task, dict) else {"name": task}
    name = named.get("name")
    if isinstance(name, str) and _is_here(name):
        path = Path(os.path.expanduser(name))
        print(f"sending {path}", file=sys.stderr)
        sent = service.upload(path, str(named.get("encoding") or "utf-8"))["task"]
        document = {**document, "task": {**task, "name": sent} if isinstance(task, dict) else sent}
    found = service.submit(document)
    return {key: found[key] for key in LISTED}


def _is_here(name: str) -> bool:
    """Whether a task is a file of this machine.

    Raises:
        InvalidInput: it is a folder, or a file that is not there.
    """
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        raise InvalidInput(Problem("task", name, f"a folder; a service takes one file: {', '.join(FILES)}"))
    if path.suffix.lower() in FILES and not path.is_file():
        raise InvalidInput(Problem("task", name, "no such file"))
    return path.is_file()
