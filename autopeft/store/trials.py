"""A search's trials where they can be paged and sorted: Optuna's storage reads a study as a whole or not at all.

Optuna's record is the truth. A controller writes each trial here after it has told it there, and all of them again
when it takes a search over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from sqlalchemy import Select, func, or_, select

from autopeft.store.sessions import Sessions
from autopeft.store.tables import SearchRow, TrialRow

Order = Literal["number", "score", "params", "seconds"]


@dataclass(frozen=True)
class TrialEntry:
    """One trial.

    Attributes:
        name: of a baseline; empty for a point of the space.
        body: the whole trial as JSON values.
    """

    number: int
    attempt: int
    state: str
    reason: str | None
    name: str
    fingerprint: str
    params: int
    score: float | None
    seconds: float
    body: Mapping[str, Any]


class Point(NamedTuple):
    """A complete trial, as far as it takes to see whether it is on a front."""

    number: int
    name: str
    fingerprint: str
    params: int
    score: float


class Trials:
    """The trials of all searches."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def put(self, search: str, attempt: int, entries: Iterable[TrialEntry]) -> None:
        """Write trials of a search; a controller that has lost the search to another attempt writes nothing."""
        with self._sessions.write() as session:
            # Held until all is written: nobody else takes the search in between.
            held = select(SearchRow.attempt).where(SearchRow.id == search).with_for_update(read=True)
            if session.scalar(held) != attempt:
                return
            now = self._sessions.now(session)
            for entry in entries:
                session.merge(TrialRow(search_id=search, updated=now, **{**vars(entry), "body": dict(entry.body)}))

    def page(
        self, search: str, limit: int, offset: int = 0, order: Order = "number", down: bool = False, state: str = ""
    ) -> list[TrialEntry]:
        """Return trials in an order, those without a score last; of one state if it is given."""
        column = getattr(TrialRow, order)
        keys = (column.desc() if down else column.asc()).nulls_last(), TrialRow.number
        # Only those of the page are read as a whole: to sort all of them with their bodies takes far longer.
        wanted = self._of(search, state).order_by(*keys).limit(limit).offset(offset)
        numbers = wanted.with_only_columns(TrialRow.number)
        return self._read(self._of(search, "").where(TrialRow.number.in_(numbers)).order_by(*keys))

    def count(self, search: str, state: str = "") -> int:
        """Return how many trials there are, or how many in a state."""
        with self._sessions.read() as session:
            return session.scalar(self._of(search, state).with_only_columns(func.count())) or 0

    def counts(self, search: str | None = None) -> dict[str, int]:
        """Return how many trials of a search, or of all, are in each state."""
        wanted = select(TrialRow.state, func.count()).group_by(TrialRow.state)
        if search is not None:
            wanted = wanted.where(TrialRow.search_id == search)
        with self._sessions.read() as session:
            return dict(session.execute(wanted).all())

    def counts_of(self, searches: Collection[str]) -> dict[str, dict[str, int]]:
        """Return how many trials are in each state, for each of some searches."""
        columns = (TrialRow.search_id, TrialRow.state)
        wanted = select(*columns, func.count()).where(TrialRow.search_id.in_(searches)).group_by(*columns)
        found: dict[str, dict[str, int]] = {search: {} for search in searches}
        with self._sessions.read() as session:
            for search, state, count in session.execute(wanted):
                found[search][state] = count
        return found

    def numbers(self, search: str) -> set[int]:
        """Return the numbers of all complete trials."""
        wanted = select(TrialRow.number).where(TrialRow.search_id == search, TrialRow.score.is_not(None))
        with self._sessions.read() as session:
            return set(session.scalars(wanted))

    def points(self, search: str, marks: Collection[str] = ()) -> list[Point]:
        """Return the complete trials that an answer may need, by number.

        These are the trials that none with as few parameters beats, those that have a name or one of these
        fingerprints, and the one with the least score.
        """
        columns = (TrialRow.number, TrialRow.name, TrialRow.fingerprint, TrialRow.params, TrialRow.score)
        best = func.max(TrialRow.score).over(order_by=TrialRow.params)
        mine = (TrialRow.search_id == search, TrialRow.score.is_not(None))
        all_of_them = select(*columns, best.label("best")).where(*mine).subquery()
        found = all_of_them.c
        least = select(TrialRow.number).where(*mine).order_by(TrialRow.score, TrialRow.number).limit(1)
        needed = or_(
            found.score >= found.best,
            found.name != "",
            found.fingerprint.in_(list(marks)),
            found.number == least.scalar_subquery(),
        )
        wanted = select(found.number, found.name, found.fingerprint, found.params, found.score).where(needed)
        with self._sessions.read() as session:
            return [Point(*row) for row in session.execute(wanted.order_by(found.number))]

    def some(self, search: str, numbers: Iterable[int]) -> list[TrialEntry]:
        """Return the trials of these numbers, in their order."""
        wanted = self._of(search, "").where(TrialRow.number.in_(list(numbers)))
        return self._read(wanted.order_by(TrialRow.number))

    def _of(self, search: str, state: str) -> Select[TrialRow]:
        wanted = select(TrialRow).where(TrialRow.search_id == search)
        return wanted.where(TrialRow.state == state) if state else wanted

    def _read(self, wanted: Select[TrialRow]) -> list[TrialEntry]:
        with self._sessions.read() as session:
            return [_entry(row) for row in session.scalars(wanted)]


def _entry(row: TrialRow) -> TrialEntry:
    return TrialEntry(**{field.name: getattr(row, field.name) for field in fields(TrialEntry)})
