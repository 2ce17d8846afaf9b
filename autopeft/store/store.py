"""The store's operations. Each is one transaction; what a method has returned from is on disk."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import CursorResult, Float, Select, delete, func, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from autopeft.architecture import Architecture
from autopeft.database import open_engine
from autopeft.errors import Conflict, InvalidInput, NotFound, Problem
from autopeft.evaluation import Conditions, Evaluation
from autopeft.messages import Fidelity, SearchSpec, TrialReport
from autopeft.store.tables import LONGEST_NAME, Base, EvaluationRow, SearchRow

SearchState = Literal["queued", "running", "interrupted", "cancelled", "failed", "done"]
Phase = Literal["proxy", "confirmation"]


@dataclass(frozen=True)
class SearchRecord:
    """A search as the store knows it.

    Attributes:
        facts: what was found out at submission and is not asked for again: hashes, counts, metric.
        seconds: wall time spent so far, over all attempts.
        attempt: how often a controller has taken it; a write of an older attempt is refused.
    """

    id: str
    name: str
    spec: SearchSpec
    facts: dict[str, Any]
    state: SearchState
    detail: str
    created: float
    seconds: float
    cancel_requested: bool
    owner: str | None
    attempt: int

    def conditions(self, fidelity: Fidelity) -> Conditions:
        """Return what the scores of the search's runs at a fidelity depend on."""
        return Conditions(
            model=self.spec.model,
            model_hash=self.facts["model_hash"],
            task=self.spec.task,
            task_hash=self.facts["task_hash"],
            metric=self.facts["metric"],
            fidelity=fidelity,
            training=self.spec.training,
            precision=self.spec.precision,
            table=self.spec.table if self.spec.executor == "replay" else None,
        )


class Store:
    """Searches and evaluations in a database.

    Args:
        url: SQLAlchemy URL; tables are created where they are missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = open_engine(url)
        Base.metadata.create_all(self._engine)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def create(self, spec: SearchSpec, facts: dict[str, Any]) -> SearchRecord:
        """Store a new search, queued.

        Raises:
            InvalidInput: a database cannot hold that name.
            Conflict: another search has that name.
        """
        identity = f"s-{uuid.uuid4().hex[:8]}"
        name = spec.name or identity
        if not _is_name(name):
            remedy = f"give up to {LONGEST_NAME} characters, none of them a control character"
            raise InvalidInput(Problem("name", name, remedy))
        try:
            with self._begin() as session:
                row = SearchRow(
                    id=identity,
                    name=name,
                    spec=spec.model_dump(mode="json"),
                    facts=facts,
                    state="queued",
                    created=self._now(session),
                )
                session.add(row)
        except IntegrityError as error:
            raise Conflict(f"a search named {name!r} exists already; choose another name or resume it") from error
        return self.get(identity)

    def get(self, name: str) -> SearchRecord:
        """Return a search by id or name.

        Raises:
            NotFound: there is none.
        """
        with self._begin() as session:
            row = self._find(session, name)
            return _record(row)

    def list(self) -> list[SearchRecord]:
        """Return all searches, newest first."""
        with self._begin() as session:
            rows = session.scalars(select(SearchRow).order_by(SearchRow.created.desc()))
            return [_record(row) for row in rows]

    def delete(self, identity: str) -> None:
        """Remove a search and its evaluations."""
        with self._begin() as session:
            session.execute(delete(EvaluationRow).where(EvaluationRow.search_id == identity))
            session.execute(delete(SearchRow).where(SearchRow.id == identity))

    def claim(self, name: str, owner: str, seconds: float) -> SearchRecord | None:
        """Take a search for ``seconds``, or return None where another owner's lease still runs."""
        with self._begin() as session:
            row = self._find(session, name)
            now = self._now(session)
            if row.owner not in (None, owner) and row.lease_until > now:
                return None
            row.owner, row.lease_until = owner, now + seconds
            row.attempt += 1
            row.cancel_requested = False
            session.flush()
            return _record(row)

    def renew(self, record: SearchRecord, seconds: float) -> bool:
        """Prolong a lease; False where another controller has taken the search since."""
        with self._begin() as session:
            until = self._now(session) + seconds
            return self._update(session, record, lease_until=until)

    def release(self, record: SearchRecord, state: SearchState, spent: float, detail: str = "") -> None:
        """Give a search back in a state, adding the wall seconds spent on it."""
        with self._begin() as session:
            self._update(
                session,
                record,
                owner=None,
                lease_until=0.0,
                state=state,
                detail=_storable(detail)[:2000],
                seconds=SearchRow.seconds + spent,
            )

    def set_state(self, record: SearchRecord, state: SearchState) -> None:
        """Set a claimed search's state."""
        with self._begin() as session:
            self._update(session, record, state=state)

    def set_spec(self, record: SearchRecord, spec: SearchSpec) -> SearchRecord:
        """Replace what is asked for, as when a search is resumed with more budget."""
        with self._begin() as session:
            session.execute(
                update(SearchRow).where(SearchRow.id == record.id).values(spec=spec.model_dump(mode="json"))
            )
        return self.get(record.id)

    def request_cancel(self, name: str) -> SearchRecord:
        """Ask the controller of a search to stop; a search that nobody owns is cancelled at once."""
        with self._begin() as session:
            row = self._find(session, name)
            row.cancel_requested = True
            owned = row.owner is not None and row.lease_until > self._now(session)
            if not owned and row.state in ("queued", "running", "interrupted"):
                row.state, row.owner = "cancelled", None
            session.flush()
            return _record(row)

    def cancel_requested(self, record: SearchRecord) -> bool:
        """Whether somebody asked to cancel the search."""
        return self.get(record.id).cancel_requested

    def add_evaluation(
        self,
        record: SearchRecord,
        phase: Phase,
        architecture: Architecture,
        fidelity: Fidelity,
        seed: int,
        report: TrialReport,
    ) -> None:
        """Store a finished run; one that is there already stays as it is."""
        row = {
            "search_id": record.id,
            "phase": phase,
            "fingerprint": architecture.fingerprint,
            "seed": seed,
            "model_hash": record.facts["model_hash"],
            "task_hash": record.facts["task_hash"],
            "architecture": architecture.to_dict(),
            "fidelity": fidelity.model_dump(mode="json"),
            "report": report.model_dump(mode="json"),
        }
        try:
            with self._begin() as session:
                session.add(EvaluationRow(**row, created=self._now(session)))
        except IntegrityError:
            return

    def evaluations(self, record: SearchRecord, phase: Phase) -> dict[tuple[str, int], TrialReport]:
        """Return a search's finished runs of a phase by (fingerprint, seed)."""
        wanted = select(EvaluationRow).where(EvaluationRow.search_id == record.id, EvaluationRow.phase == phase)
        with self._begin() as session:
            return {
                (row.fingerprint, row.seed): TrialReport.model_validate(row.report) for row in session.scalars(wanted)
            }

    def known(self, conditions: Conditions, fingerprint: str | None = None) -> Iterator[Evaluation]:
        """Yield every search's finished runs under these conditions, oldest first; of one architecture if it is given.

        Failed runs are among them, and runs that were stopped early.
        """
        wanted = select(EvaluationRow, SearchRow).join(SearchRow).order_by(EvaluationRow.id)
        wanted = wanted.where(
            EvaluationRow.model_hash == conditions.model_hash, EvaluationRow.task_hash == conditions.task_hash
        )
        if fingerprint is not None:
            wanted = wanted.where(EvaluationRow.fingerprint == fingerprint)
        return (one for one in self._read(wanted) if one.conditions.key == conditions.key)

    def all_evaluations(self, identity: str | None = None) -> Iterator[Evaluation]:
        """Yield every search's finished runs, oldest first, or those of the search of this id."""
        wanted = select(EvaluationRow, SearchRow).join(SearchRow).order_by(EvaluationRow.id)
        return self._read(wanted if identity is None else wanted.where(SearchRow.id == identity))

    def _read(self, wanted: Select[EvaluationRow, SearchRow]) -> Iterator[Evaluation]:
        with self._begin() as session:
            for run, search in session.execute(wanted):
                yield _evaluation(run, _record(search))

    @contextmanager
    def _begin(self) -> Iterator[Session]:
        with Session(self._engine) as session, session.begin():
            yield session

    def _find(self, session: Session, name: str) -> SearchRow:
        row = None
        if _is_name(name):
            row = session.get(SearchRow, name) or session.scalar(select(SearchRow).where(SearchRow.name == name))
        if row is None:
            names = list(session.scalars(select(SearchRow.name).order_by(SearchRow.created.desc()).limit(10)))
            known = ", ".join(names) or "none yet"
            raise NotFound(f"no search named {name!r}; there are: {known}")
        return row

    def _update(self, session: Session, record: SearchRecord, **values: Any) -> bool:
        # Fenced: a controller that lost its lease and woke up again changes nothing.
        statement = update(SearchRow).where(SearchRow.id == record.id, SearchRow.attempt == record.attempt)
        result = cast("CursorResult[Any]", session.execute(statement.values(**values)))
        return result.rowcount == 1

    def _now(self, session: Session) -> float:
        clock: ColumnElement[float]
        if self._engine.dialect.name == "sqlite":
            clock = sql_cast((func.julianday("now") - 2440587.5) * 86400.0, Float)
        else:
            clock = sql_cast(func.extract("epoch", func.clock_timestamp()), Float)
        return float(session.scalar(select(clock)) or 0.0)


def _is_name(text: str) -> bool:
    return len(text) <= LONGEST_NAME and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def _storable(text: str) -> str:
    # No database holds half of a surrogate pair, as undecodable bytes of a path become, and PostgreSQL no NUL.
    return text.encode(errors="replace").decode().replace("\0", "?")


def _evaluation(run: EvaluationRow, search: SearchRecord) -> Evaluation:
    report = TrialReport.model_validate(run.report)
    return Evaluation(
        conditions=search.conditions(Fidelity.model_validate(run.fidelity)),
        architecture=run.architecture,
        seed=run.seed,
        report=report.model_copy(update={"source": report.source or search.id}),
        versions=search.facts["versions"],
    )


def _record(row: SearchRow) -> SearchRecord:
    return SearchRecord(
        id=row.id,
        name=row.name,
        spec=SearchSpec.model_validate(row.spec),
        facts=row.facts,
        state=cast(SearchState, row.state),
        detail=row.detail,
        created=row.created,
        seconds=row.seconds,
        cancel_requested=row.cancel_requested,
        owner=row.owner,
        attempt=row.attempt,
    )
