"""What happened to a search, in order, for those who watch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from autopeft.store.sessions import Sessions
from autopeft.store.tables import EventRow


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        id: grows with every event of the database.
        kind: ``submitted``, ``state`` or ``progress``.
        body: JSON values.
        created: in seconds since 1970.
    """

    id: int
    kind: str
    body: Mapping[str, Any]
    created: float


class Events:
    """The events of all searches."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, search: str, kind: str, body: Mapping[str, Any]) -> None:
        """Tell the watchers of a search, by its id, of something."""
        with self._sessions.write() as session:
            session.add(EventRow(search_id=search, kind=kind, body=dict(body), created=self._sessions.now(session)))

    def after(self, search: str, last: int = 0, limit: int = 1000) -> list[Event]:
        """Return a search's events after the one of that id, oldest first."""
        wanted = select(EventRow).where(EventRow.search_id == search, EventRow.id > last)
        with self._sessions.read() as session:
            rows = session.scalars(wanted.order_by(EventRow.id).limit(limit))
            return [Event(row.id, row.kind, row.body, row.created) for row in rows]

    def latest(self, search: str, kind: str = "progress") -> Event | None:
        """Return the last event of a kind, or None."""
        wanted = select(EventRow).where(EventRow.search_id == search, EventRow.kind == kind)
        with self._sessions.read() as session:
            row = session.scalar(wanted.order_by(EventRow.id.desc()).limit(1))
            return None if row is None else Event(row.id, row.kind, row.body, row.created)
