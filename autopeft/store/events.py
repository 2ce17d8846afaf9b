"""What happened to a search, in order, for those who watch it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from autopeft.store.sessions import Sessions
from autopeft.store.tables import EventRow, SearchRow

# An event's, in its order.
COLUMNS = (EventRow.id, EventRow.kind, EventRow.body, EventRow.created)


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
            self.put(session, search, kind, body)

    def put(self, session: Session, search: str, kind: str, body: Mapping[str, Any]) -> None:
        """Do the same in a transaction that is under way, with what it is told of."""
        session.add(EventRow(search_id=search, kind=kind, body=dict(body), created=self._sessions.now(session)))

    def after(self, search: str, last: int = 0, limit: int = 1000) -> list[Event]:
        """Return a search's events after the one of that id, oldest first."""
        wanted = select(*COLUMNS).where(EventRow.search_id == search, EventRow.id > last)
        with self._sessions.read() as session:
            return [Event(*row) for row in session.execute(wanted.order_by(EventRow.id).limit(limit))]

    def spread(self, search: str, kind: str, most: int) -> list[Event]:
        """Return at most so many of a search's events of a kind, evenly spread over all, the last one among them."""
        mine = (EventRow.search_id == search, EventRow.kind == kind)
        place = func.row_number().over(order_by=EventRow.id.desc()).label("place")
        all_of_them = select(EventRow.id, place).where(*mine).subquery()
        with self._sessions.read() as session:
            count = session.scalar(select(func.count()).select_from(EventRow).where(*mine)) or 0
            step = -(-count // most) or 1
            chosen = select(all_of_them.c.id).where((all_of_them.c.place - 1) % step == 0)
            wanted = select(*COLUMNS).where(EventRow.id.in_(chosen)).order_by(EventRow.id)
            return [Event(*row) for row in session.execute(wanted)]

    def latest(self, search: str, kind: str = "progress") -> Event | None:
        """Return the last event of a kind, or None."""
        return self.latest_of([search], kind).get(search)

    def latest_of(self, searches: Iterable[str], kind: str = "progress") -> dict[str, Event]:
        """Return the last event of a kind for each of some searches, where there is one."""
        # One by one: a search's last event is found at once, where the last of all together takes reading them all.
        mine = select(EventRow.id).where(EventRow.search_id == SearchRow.id, EventRow.kind == kind)
        last = mine.order_by(EventRow.id.desc()).limit(1).scalar_subquery()
        ids = select(last).where(SearchRow.id.in_(list(searches)))
        wanted = select(EventRow.search_id, *COLUMNS).where(EventRow.id.in_(ids))
        with self._sessions.read() as session:
            return {search: Event(*row) for search, *row in session.execute(wanted)}
