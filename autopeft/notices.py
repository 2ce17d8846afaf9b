"""Notices to people when a search ends, by any of the services that apprise knows. Optional."""

from __future__ import annotations

import os
from typing import Any

import structlog

from autopeft.errors import InvalidInput, Problem
from autopeft.store import SearchRecord

# Set where the controller runs, never by who submits: a notice opens a connection to where the URL says.
VARIABLE = "AUTOPEFT_NOTIFY"
log = structlog.get_logger("autopeft.notices")


def notify(record: SearchRecord) -> None:
    """Tell everyone named in ``AUTOPEFT_NOTIFY`` (apprise URLs, separated by blanks) that a search has ended.

    A notice that cannot be delivered is logged; the search is not affected.
    """
    urls = os.environ.get(VARIABLE, "").split()
    if not urls:
        return
    detail = f": {record.detail}" if record.detail else ""
    what = f"{record.spec.model} on {record.spec.task.name}"
    body = f"Search {record.name} ({record.id}), {what}, is {record.state}{detail}"
    try:
        if not _sender(urls).notify(title=f"AutoPEFT: {record.name} is {record.state}", body=body):
            log.warning("a notice was not delivered", search=record.id)
    except Exception as error:
        log.warning("no notice was sent", search=record.id, error=str(error))


def _sender(urls: list[str]) -> Any:
    try:
        import apprise  # noqa: PLC0415 - an extra
    except ImportError as error:
        remedy = "needs an extra: pip install -c constraints.txt '.[notify]' in a checkout"
        raise InvalidInput(Problem(VARIABLE, None, remedy)) from error
    sender = apprise.Apprise()
    for url in urls:
        if not sender.add(url):
            raise InvalidInput(Problem(VARIABLE, url.partition("://")[0], "no address that apprise knows"))
    return sender
