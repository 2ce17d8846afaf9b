"""The controller as a process: takes the searches that were submitted to the service, one after another.

Any number of them may run, on any machine that reaches the database. Whatever one leaves behind when it is killed,
another takes up: a search is queued until it is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError

from autopeft.controller import Controller
from autopeft.database import said
from autopeft.errors import AutopeftError, ServiceUnreachable
from autopeft.lease import Lease, new_owner
from autopeft.messages import ENDED
from autopeft.progress import Progress
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.study_notes import write_notes

IDLE_SECONDS = 0.5
AWAY_SECONDS = 2.0
# One that waits says so this often; see :mod:`autopeft.store.waiting`.
SAY_SECONDS = 5.0
# A search on which so many controllers in a row were lost, without one finished run, is given up.
MOST_LOSSES = 20
log = structlog.get_logger("autopeft.controller")


class Dispatcher:
    """Works on served searches until it is told to stop.

    Args:
        store: where the searches are.
        settings: data folder, database and Ray address.
        ended: is told of every search that this dispatcher has brought to an end.
    """

    def __init__(
        self, store: Store, settings: Settings, ended: Callable[[SearchRecord], None] = lambda _: None
    ) -> None:
        self._store = store
        self._settings = settings
        self._ended = ended
        self._stopping = threading.Event()
        self._controller: Controller | None = None
        self._name = new_owner()
        self._said: float | None = None

    def stop(self) -> None:
        """Finish the runs under way, and leave the rest of their search to another controller."""
        self._stopping.set()
        if self._controller is not None:
            self._controller.drain()

    def run(self, *, until_idle: bool = False) -> None:
        """Take searches and work on them; return when stopped or, if so asked, when none is waiting."""
        while not self._stopping.is_set():
            try:
                lease = Lease.next(self._store)
                if lease is not None:
                    self._say_no_more()
                    self._work(lease)
                elif until_idle:
                    return
                else:
                    self._say_that_it_waits()
                    self._stopping.wait(IDLE_SECONDS)
            except (DBAPIError, StorageInternalError) as error:
                log.warning("database does not answer", error=said(error) or str(error))
                self._said = None
                self._stopping.wait(AWAY_SECONDS)
            except ServiceUnreachable as error:
                log.warning("left until the cluster answers", error=str(error))
                self._stopping.wait(AWAY_SECONDS)
        self._say_no_more()

    def _say_that_it_waits(self) -> None:
        if self._said is None or time.monotonic() > self._said + SAY_SECONDS:
            self._store.waiting.say(self._name)
            self._said = time.monotonic()

    def _say_no_more(self) -> None:
        if self._said is not None:
            with suppress(DBAPIError):  # what is not heard again is forgotten anyway
                self._store.waiting.leave(self._name)
            self._said = None

    def _work(self, lease: Lease) -> None:
        record = lease.record
        with structlog.contextvars.bound_contextvars(search=record.id, name=record.name):
            if record.losses >= MOST_LOSSES:
                self._give_up(lease)
            else:
                self._search(lease)
            now = self._store.get(record.id)
            log.info("left", state=now.state, detail=now.detail)
            if now.state in ENDED:
                write_notes(self._store, self._settings, now)
                self._ended(now)

    def _search(self, lease: Lease) -> None:
        log.info("taken", attempt=lease.record.attempt)
        self._controller = Controller(self._store, lease, self._settings, _log_progress)
        if self._stopping.is_set():
            self._controller.drain()
        try:
            self._controller.run()
        except (ServiceUnreachable, DBAPIError, StorageInternalError):
            raise  # the search goes on where it was, once what does not answer is there again
        except AutopeftError as error:
            log.warning("failed", error=str(error))
        except Exception:
            log.exception("failed by a fault of autopeft")
        finally:
            self._controller = None

    def _give_up(self, lease: Lease) -> None:
        lease.stop()
        detail = f"{lease.record.losses} controllers in a row were lost on it before they had finished a run"
        self._store.release(lease.record, "failed", 0.0, detail)


def _log_progress(progress: Progress) -> None:
    if progress.event:
        log.info("progress", phase=progress.phase, done=progress.done, total=progress.total, event_text=progress.event)
