"""Owning a search while working on it: a lease in the database, renewed from a thread."""

from __future__ import annotations

import os
import socket
import threading
import uuid

from autopeft.errors import Conflict
from autopeft.store import SearchRecord, Store

LEASE_SECONDS = 15.0
RENEW_EVERY = 4.0


class Lease:
    """One controller's claim on one search.

    Args:
        store: that the search is in.
        name: id or name of the search.

    Raises:
        Conflict: another controller that is alive owns the search.
        NotFound: there is no such search.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        before = store.get(name)
        if before.owner is not None and _is_dead_here(before.owner):
            store.release(before, before.state, 0.0)
        record = store.claim(name, owner, LEASE_SECONDS)
        if record is None:
            raise Conflict(f"search {before.name!r} is being worked on by {before.owner}; cancel it there first")
        self.record: SearchRecord = record
        self.lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="autopeft-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing."""
        self._done.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._done.wait(RENEW_EVERY):
            try:
                self.lost = not self._store.renew(self.record, LEASE_SECONDS)
            except Exception:  # a database that is away for a moment is no reason to stop
                continue


def _is_dead_here(owner: str) -> bool:
    host, pid, _ = owner.rsplit(":", 2)
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
