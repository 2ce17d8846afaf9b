"""Which controllers wait for searches, as they say it themselves; one that works owns a search instead."""

from __future__ import annotations

from sqlalchemy import delete, func, select

from autopeft.store.sessions import Sessions
from autopeft.store.tables import ControllerRow

# A controller that has said nothing for so long is gone, or at work.
SILENT_SECONDS = 15.0


class Waiting:
    """The controllers that wait."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def say(self, owner: str) -> None:
        """Note that a controller waits; it says so again well before :data:`SILENT_SECONDS` are over."""
        with self._sessions.write() as session:
            now = self._sessions.now(session)
            session.execute(delete(ControllerRow).where(ControllerRow.seen < now - SILENT_SECONDS))
            session.merge(ControllerRow(owner=owner, seen=now))

    def leave(self, owner: str) -> None:
        """Note that a controller waits no more."""
        with self._sessions.write() as session:
            session.execute(delete(ControllerRow).where(ControllerRow.owner == owner))

    def count(self) -> int:
        """Return how many wait."""
        with self._sessions.read() as session:
            since = self._sessions.now(session) - SILENT_SECONDS
            return session.scalar(select(func.count()).where(ControllerRow.seen >= since)) or 0
