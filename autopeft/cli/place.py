"""Where searches are: in the embedded store, or behind the service that ``AUTOPEFT_URL`` names.

Commands that read searches ask the one or the other for the same documents, so that they print the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from autopeft.messages import ENDED

if TYPE_CHECKING:
    from autopeft.client import Service
    from autopeft.store import SearchRecord

Document = dict[str, Any]
LISTED = ("id", "name", "state", "created", "spec")
SHOWN = ("id", "name", "state", "detail", "seconds", "spec")
POLL_SECONDS = 0.5


class Place(Protocol):
    """Where searches are."""

    def searches(self) -> list[Document]:
        """Return all searches, newest first, with the keys :data:`LISTED`."""

    def status(self, name: str) -> Document:
        """Return a search, by id or name, with the keys :data:`SHOWN`."""

    def search(self, name: str) -> Document:
        """Return a search with ``facts`` and ``trials`` as well."""

    def events(self, name: str) -> Iterator[Document]:
        """Yield what happened to a search, then what happens, until it has come to its end or was left."""

    def cancel(self, name: str) -> tuple[Document, bool]:
        """Cancel a search; return it, and whether it had ended before."""


def find_place() -> Place:
    """Return the place that the environment names."""
    from autopeft.client import Service

    service = Service.from_environment()
    return Embedded() if service is None else Remote(service)


class Embedded:
    """The store of this machine, or of the database that ``AUTOPEFT_DATABASE_URL`` names."""

    def __init__(self) -> None:
        from autopeft.settings import Settings
        from autopeft.store import Store

        self._settings = Settings.from_environment()
        self._store = Store(self._settings.database_url)

    def searches(self) -> list[Document]:
        """Return all searches."""
        return [describe(record, LISTED) for record in self._store.list()]

    def status(self, name: str) -> Document:
        """Return a search."""
        return describe(self._store.get(name), SHOWN)

    def search(self, name: str) -> Document:
        """Return a search with everything that is known of it."""
        from autopeft.trial import opened_storage, read_trials

        record = self._store.get(name)
        with opened_storage(self._settings.database_url) as storage:
            trials = read_trials(storage, record.name)
        return {**describe(record, SHOWN), "facts": record.facts, "trials": [trial.to_dict() for trial in trials]}

    def events(self, name: str) -> Iterator[Document]:
        """Yield events, read every half second."""
        search, last = self._store.get(name).id, 0
        while True:
            rests, events = self._store.look(search, last)
            for event in events:
                last = event.id
                yield {"id": event.id, "kind": event.kind, "body": dict(event.body)}
            if events:
                continue
            if rests:
                return
            time.sleep(POLL_SECONDS)

    def cancel(self, name: str) -> tuple[Document, bool]:
        """Cancel a search."""
        record = self._store.get(name)
        ended = record.state in ENDED
        if not ended:
            record = self._store.request_cancel(name)
        return describe(record, SHOWN), ended


class Remote:
    """A service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def searches(self) -> list[Document]:
        """Return all searches."""
        return [{key: one[key] for key in LISTED} for one in self._service.searches()]

    def status(self, name: str) -> Document:
        """Return a search."""
        found = self._service.search(name)
        return {key: found[key] for key in SHOWN}

    def search(self, name: str) -> Document:
        """Return a search; of its facts, a service tells the metric and the model's size."""
        found = self._service.search(name)
        facts = {key: found[key] for key in ("metric", "base_parameters")}
        return {**{key: found[key] for key in SHOWN}, "facts": facts, "trials": list(self._service.trials(name))}

    def events(self, name: str) -> Iterator[Document]:
        """Yield events as they come in."""
        return self._service.events(name)

    def cancel(self, name: str) -> tuple[Document, bool]:
        """Cancel a search."""
        before = self._service.search(name)
        ended = before["state"] in ENDED
        return (before if ended else self._service.cancel(name)), ended


def describe(record: SearchRecord, keys: tuple[str, ...]) -> Document:
    """Return some of what the store knows of a search as JSON values."""
    values = {key: getattr(record, key) for key in keys}
    if "seconds" in values:
        values["seconds"] = round(values["seconds"], 1)
    return {**values, "spec": record.spec.model_dump(mode="json")}
