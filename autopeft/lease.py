"""Owning a search while working on it: a lease in the database, renewed from a thread."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid

from autopeft.budget import Budget, add_budget, parse_budget
from autopeft.errors import Conflict
from autopeft.messages import SearchSpec
from autopeft.store import SearchRecord, Store

LEASE_SECONDS = 15.0
RENEW_EVERY = 4.0


class Lease:
    """One controller's claim on one search, made by :meth:`take` or :meth:`next`.

    Attributes:
        lost: whether another controller was seen to have taken the search since.
    """

    def __init__(self, store: Store, record: SearchRecord) -> None:
        self.record = record
        self.lost = False
        self._store = store
        self._counted = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="autopeft-lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, store: Store, name: str) -> Lease:
        """Claim the search of this id or name.

        Raises:
            Conflict: another controller that is alive owns the search.
            NotFound: there is no such search.
        """
        before = store.get(name)
        _expire_if_dead(store, before)
        claimed = store.claim(name, new_owner(), LEASE_SECONDS)
        if claimed is None:
            raise Conflict(f"search {before.name!r} is being worked on by {before.owner}; cancel it there first")
        return cls(store, claimed)

    @classmethod
    def next(cls, store: Store) -> Lease | None:
        """Claim the oldest served search that nobody works on, or return None where there is none."""
        for record in store.owned():
            _expire_if_dead(store, record)
        claimed = store.claim_next(new_owner(), LEASE_SECONDS)
        return None if claimed is None else cls(store, claimed)

    @property
    def uncounted(self) -> float:
        """Wall seconds of the claim that the store was not told of when it was renewed."""
        return time.monotonic() - self._counted

    def check(self) -> bool:
        """Ask the database whether the search is still this controller's, as before anything that cannot be undone."""
        self.lost = self.lost or not self._store.owns(self.record)
        return not self.lost

    def stop(self) -> None:
        """Stop renewing."""
        self._done.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._done.wait(RENEW_EVERY):
            try:
                spent = self.uncounted
                self.lost = not self._store.renew(self.record, LEASE_SECONDS, spent)
                self._counted += spent
            except Exception:  # a database that is away for a moment is no reason to stop
                continue


def new_owner() -> str:
    """Return a name for a controller, which tells its machine and process."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def change_budget(store: Store, record: SearchRecord, budget: str, *, serve: bool = False) -> SearchRecord:
    """Set the budget with which a search that nobody works on is to go on, and return its record.

    Args:
        store: where the search is.
        record: of the search.
        budget: a new one in all, or more than before, as ``+20``.
        serve: whether to queue it as well, for whichever controller is free; both are done or neither.

    Raises:
        InvalidInput: it is no budget, or has another unit than the search's.
        Conflict: it is below what was spent already, or somebody is working on the search.
    """
    counts = store.trials.counts(record.id)
    done = sum(counts.values()) - counts.get("running", 0)

    def change(before: SearchRecord) -> SearchSpec:
        changed = add_budget(before.spec.budget, budget)
        _require_more(before, parse_budget(changed), done)
        return before.spec.model_copy(update={"budget": changed})

    _expire_if_dead(store, record)
    return (store.serve if serve else store.change)(record.id, change)


def _require_more(record: SearchRecord, budget: Budget, done: int) -> None:
    """Refuse a budget that is used up; of GPU time only the executor knows what that is."""
    if budget.trials is not None and budget.trials < done:
        raise Conflict(f"search {record.name!r} has {done} finished trials already; {budget.trials} is fewer")
    if budget.seconds is not None and budget.seconds < record.seconds:
        spent = f"{record.seconds:.0f} s"
        raise Conflict(f"search {record.name!r} has spent {spent} already; {budget.seconds:g} s is less")


def _expire_if_dead(store: Store, record: SearchRecord) -> None:
    if record.owner is not None and _is_dead_here(record.owner):
        store.expire(record)


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
