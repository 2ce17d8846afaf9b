"""The store's operations. Each is one transaction; what a method has returned from is on disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from sqlalchemy import CursorResult, Select, and_, case, delete, func, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from autopeft.architecture import Architecture
from autopeft.database import PATIENCE
from autopeft.errors import Conflict, InvalidInput, NotFound
from autopeft.evaluation import Conditions, Evaluation
from autopeft.messages import ENDED, Fidelity, SearchSpec, SearchState, TrialReport, rests
from autopeft.naming import can_be_kept, unkept
from autopeft.store.events import Event, Events
from autopeft.store.sessions import Sessions
from autopeft.store.tables import EvaluationRow, SearchRow
from autopeft.store.tokens import Tokens
from autopeft.store.trials import Trials
from autopeft.store.uploads import Uploads
from autopeft.store.waiting import Waiting

Phase = Literal["proxy", "confirmation"]
# By these states what is still to be done is found among thousands of searches that have ended.
OPEN = tuple(state for state in get_args(SearchState) if state not in ENDED)
# What tells one run of a search from another.
RUN = ("search_id", "fingerprint", "phase", "seed")


@dataclass(frozen=True)
class Submission:
    """Who submitted a search to the service, and under which key it may be submitted again without being doubled.

    Attributes:
        request: digest of what was asked for; the same key with another request is refused.
    """

    submitter: str
    key: str | None = None
    request: str = ""


@dataclass(frozen=True)
class SearchRecord:
    """A search as the store knows it.

    Attributes:
        facts: what was found out at submission and is not asked for again: hashes, counts, metric.
        seconds: wall time spent so far, over all attempts.
        attempt: how often a controller has taken it; a write of an older attempt is refused.
        served: whether any controller that is free takes it, where the others are worked on by who made them.
        losses: controllers in a row that were lost on it before they finished a run.
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
    served: bool = False
    losses: int = 0
    submitter: str | None = None

    @property
    def rests(self) -> bool:
        """Whether nothing more happens to it unless it is resumed."""
        return rests(self.state, self.served, self.owner)

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


# Makes what is asked for from now on of a search as it stands.
Change = Callable[[SearchRecord], SearchSpec]


class Store:
    """Searches and evaluations in a database; what else is kept there has an attribute of its own.

    Args:
        url: SQLAlchemy URL; tables are created where they are missing, and migrated where they are old.
        patience: seconds for which a database that is away or locked is waited for.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self.url = url
        self._sessions = Sessions(url, patience)
        self.events = Events(self._sessions)
        self.tokens = Tokens(self._sessions)
        self.trials = Trials(self._sessions)
        self.uploads = Uploads(self._sessions)
        self.waiting = Waiting(self._sessions)

    def close(self) -> None:
        """Give the connections back."""
        self._sessions.engine.dispose()

    def create(self, spec: SearchSpec, facts: dict[str, Any], submission: Submission | None = None) -> SearchRecord:
        """Store a new search, queued; with a submission, for whichever controller is free.

        A submission whose key is known already returns the search that was made then.

        Raises:
            InvalidInput: a database cannot hold that name.
            Conflict: another search has that name, or the key was used for another request.
        """
        identity = f"s-{uuid.uuid4().hex[:8]}"
        name = spec.name or identity
        if not can_be_kept(name):
            raise InvalidInput(unkept(name))
        served = {} if submission is None else _served(submission)
        try:
            with self._sessions.write() as session:
                row = SearchRow(
                    id=identity,
                    name=name,
                    spec=spec.model_dump(mode="json"),
                    facts=facts,
                    state="queued",
                    created=self._sessions.now(session),
                    **served,
                )
                session.add(row)
                if submission is not None:
                    session.flush()
                    self.events.put(session, identity, "submitted", {"submitter": submission.submitter})
        except IntegrityError as error:
            there = None if submission is None else self.submitted(submission)
            if there is not None:
                return there
            raise Conflict(f"a search named {name!r} exists already; choose another name or resume it") from error
        return self.get(identity)

    def submitted(self, submission: Submission) -> SearchRecord | None:
        """Return the search that was made with the submission's key, or None where none was.

        Raises:
            Conflict: it was made for another request.
        """
        if submission.key is None:
            return None
        mine = (SearchRow.submitter == submission.submitter, SearchRow.idempotency_key == submission.key)
        with self._sessions.read() as session:
            row = session.scalar(select(SearchRow).where(*mine))
            if row is None:
                return None
            if row.request_hash != submission.request:
                raise Conflict(f"Idempotency-Key {submission.key!r} was used for another request; choose another key")
            return _record(row)

    def get(self, name: str) -> SearchRecord:
        """Return a search by id or name.

        Raises:
            NotFound: there is none.
        """
        with self._sessions.read() as session:
            return _record(self._find(session, name))

    def list(
        self, limit: int | None = None, before: SearchRecord | None = None, state: str | None = None
    ) -> list[SearchRecord]:
        """Return searches, newest first: at most so many, those older than one of them, those in one state."""
        wanted = select(SearchRow).order_by(SearchRow.created.desc(), SearchRow.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(tuple_(SearchRow.created, SearchRow.id) < tuple_(before.created, before.id))
        if state is not None:
            wanted = wanted.where(SearchRow.state == state)
        with self._sessions.read() as session:
            return [_record(row) for row in session.scalars(wanted)]

    def counts(self) -> dict[tuple[str, bool], int]:
        """Return how many searches are in each state, by it and by whether they are served."""
        columns = (SearchRow.state, SearchRow.served)
        wanted = select(*columns, func.count()).group_by(*columns)
        with self._sessions.read() as session:
            return {(state, served): count for state, served, count in session.execute(wanted)}

    def delete(self, identity: str) -> None:
        """Remove a search and its evaluations."""
        with self._sessions.write() as session:
            session.execute(delete(EvaluationRow).where(EvaluationRow.search_id == identity))
            session.execute(delete(SearchRow).where(SearchRow.id == identity))

    def claim(self, name: str, owner: str, seconds: float) -> SearchRecord | None:
        """Take a search for ``seconds``, or return None where another owner's lease still runs."""
        with self._sessions.write() as session:
            row = self._lock(session, name)
            now = self._sessions.now(session)
            if row.owner not in (None, owner) and row.lease_until > now:
                return None
            row.cancel_requested = False
            return self._take(session, row, owner, now + seconds)

    def claim_next(self, owner: str, seconds: float) -> SearchRecord | None:
        """Take the oldest served search that waits for a controller, or whose controller was lost, or return None.

        One that was released with a pause is as old as the end of it, so that it does not keep others from their turn.
        """
        with self._sessions.write() as session:
            now = self._sessions.now(session)
            paused = and_(SearchRow.owner.is_(None), SearchRow.lease_until > SearchRow.created)
            turn = case((paused, SearchRow.lease_until), else_=SearchRow.created)
            # One that was cancelled is taken if its controller was lost before it could see to that.
            to_do = or_(SearchRow.cancel_requested.is_(False), SearchRow.owner.is_not(None))
            free = SearchRow.lease_until <= now
            wanted = select(SearchRow).where(SearchRow.served, free, SearchRow.state.in_(OPEN), to_do)
            # Other controllers that look at the same moment pass over what this one is about to take.
            wanted = wanted.order_by(turn).limit(1).with_for_update(skip_locked=True)
            row = session.scalar(wanted)
            return None if row is None else self._take(session, row, owner, now + seconds)

    def controllers(self) -> int:
        """Return how many controllers are working on a search at the moment."""
        with self._sessions.read() as session:
            now = self._sessions.now(session)
            wanted = select(func.count(SearchRow.owner.distinct())).where(SearchRow.lease_until > now)
            return session.scalar(wanted) or 0

    def owned(self) -> Sequence[SearchRecord]:
        """Return the served searches that a controller works on, or was lost on."""
        wanted = select(SearchRow).where(SearchRow.served, SearchRow.owner.is_not(None), SearchRow.state.in_(OPEN))
        with self._sessions.read() as session:
            return [_record(row) for row in session.scalars(wanted)]

    def expire(self, record: SearchRecord) -> None:
        """End the lease of an owner that is known to be dead; it still counts as lost on the search."""
        with self._sessions.write() as session:
            self._update(session, record, lease_until=0.0)

    def serve(self, name: str, change: Change | None = None) -> SearchRecord:
        """Queue a search that nobody works on, for whichever controller is free.

        Args:
            name: id or name of the search.
            change: makes what is asked for from now on; what it raises leaves everything as it was.

        Raises:
            Conflict: somebody works on it, or it waits for a controller already.
            NotFound: there is no such search.
        """
        with self._sessions.write() as session:
            row = self._lock_free(session, name)
            if row.served and row.state == "queued" and row.owner is None:
                raise Conflict(f"search {row.name!r} is waiting for a controller already")
            if change is not None:
                row.spec = change(_record(row)).model_dump(mode="json")
            row.served, row.state, row.detail = True, "queued", ""
            row.owner, row.lease_until, row.cancel_requested, row.losses = None, 0.0, False, 0
            self._tell(session, row.id, "queued")
            session.flush()
            return _record(row)

    def change(self, name: str, change: Change) -> SearchRecord:
        """Replace what is asked for of a search that nobody works on, as when it is resumed with more budget.

        Raises:
            Conflict: somebody works on it.
            NotFound: there is no such search.
        """
        with self._sessions.write() as session:
            row = self._lock_free(session, name)
            row.spec = change(_record(row)).model_dump(mode="json")
            session.flush()
            return _record(row)

    def _take(self, session: Session, row: SearchRow, owner: str, until: float) -> SearchRecord:
        # An owner that is still there was lost: one that ends by itself leaves none.
        row.losses = row.losses + 1 if row.owner not in (None, owner) else 0
        row.owner, row.lease_until = owner, until
        row.attempt += 1
        session.flush()
        return _record(row)

    def renew(self, record: SearchRecord, seconds: float, spent: float = 0.0) -> bool:
        """Prolong a lease, adding the wall seconds spent; False where another controller has the search now."""
        with self._sessions.write() as session:
            until = self._sessions.now(session) + seconds
            return self._update(session, record, lease_until=until, seconds=SearchRow.seconds + spent)

    def release(
        self,
        record: SearchRecord,
        state: SearchState,
        spent: float,
        detail: str = "",
        infeasible: bool = False,
        pause: float = 0.0,
    ) -> None:
        """Give a search back in a state, adding the wall seconds spent on it.

        Args:
            record: as it was claimed.
            state: that it is left in.
            spent: wall seconds that :meth:`renew` was not told of.
            detail: why, for people.
            infeasible: whether it failed because nothing meets its caps; its watchers are told.
            pause: seconds for which no controller takes it of its own accord.
        """
        detail = _storable(detail)[:2000]
        with self._sessions.write() as session:
            until = self._sessions.now(session) + pause if pause else 0.0
            values = {"owner": None, "lease_until": until, "state": state, "detail": detail}
            if self._update(session, record, **values, seconds=SearchRow.seconds + spent):
                self._tell(session, record.id, state, detail, **({"infeasible": True} if infeasible else {}))

    def set_state(self, record: SearchRecord, state: SearchState) -> None:
        """Set a claimed search's state."""
        with self._sessions.write() as session:
            if self._update(session, record, state=state):
                self._tell(session, record.id, state)

    def request_cancel(self, name: str) -> SearchRecord:
        """Ask the controller of a search to stop; a search that nobody owns is cancelled at once.

        A served search whose controller was lost is left to the next one, which ends the trials that were running.
        """
        with self._sessions.write() as session:
            row = self._lock(session, name)
            row.cancel_requested = True
            owned = row.owner is not None and (row.served or row.lease_until > self._sessions.now(session))
            if not owned and row.state not in ENDED:
                row.state, row.owner = "cancelled", None
                self._tell(session, row.id, "cancelled")
            session.flush()
            return _record(row)

    def cancel_requested(self, record: SearchRecord) -> bool:
        """Whether somebody asked to cancel the search."""
        with self._sessions.read() as session:
            return bool(session.scalar(select(SearchRow.cancel_requested).where(SearchRow.id == record.id)))

    def owns(self, record: SearchRecord) -> bool:
        """Whether nobody has taken the search since this record of it was claimed."""
        with self._sessions.read() as session:
            return session.scalar(select(SearchRow.attempt).where(SearchRow.id == record.id)) == record.attempt

    def look(self, search: str, last: int = 0) -> tuple[bool, Sequence[Event]]:
        """Return whether a search rests, by its id, and its later events, all that led to that among them."""
        rests = self.get(search).rests  # first: what is told by now is then among the events that are read after it
        return rests, self.events.after(search, last)

    def add_evaluation(
        self,
        record: SearchRecord,
        phase: Phase,
        architecture: Architecture,
        fidelity: Fidelity,
        seed: int,
        report: TrialReport,
    ) -> None:
        """Store a finished run; one that is there already stays as it is, unless it had failed."""
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
            with self._sessions.write() as session:
                there = session.scalar(
                    select(EvaluationRow).where(*(getattr(EvaluationRow, key) == row[key] for key in RUN))
                )
                if there is not None:
                    if there.report["state"] != "failed":
                        return
                    session.delete(there)
                    session.flush()
                session.add(EvaluationRow(**row, created=self._sessions.now(session)))
                self._update(session, record, losses=0)
        except IntegrityError:
            return

    def evaluations(self, record: SearchRecord, phase: Phase) -> dict[tuple[str, int], TrialReport]:
        """Return a search's finished runs of a phase by (fingerprint, seed)."""
        wanted = select(EvaluationRow).where(EvaluationRow.search_id == record.id, EvaluationRow.phase == phase)
        with self._sessions.read() as session:
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
        with self._sessions.read() as session:
            for run, search in session.execute(wanted):
                yield _evaluation(run, _record(search))

    def _lock(self, session: Session, name: str) -> SearchRow:
        """Return a search as it is until the transaction ends; on PostgreSQL others could change it meanwhile."""
        row = self._find(session, name)
        session.refresh(row, with_for_update=True)
        return row

    def _lock_free(self, session: Session, name: str) -> SearchRow:
        """Return a search that nobody works on, as it is until the transaction ends."""
        row = self._lock(session, name)
        if row.owner is not None and row.lease_until > self._sessions.now(session):
            raise Conflict(f"search {row.name!r} is being worked on by {row.owner}; cancel it first")
        return row

    def _find(self, session: Session, name: str) -> SearchRow:
        row = None
        if can_be_kept(name):
            named = select(SearchRow).where(or_(SearchRow.id == name, SearchRow.name == name))
            row = session.scalar(named.order_by((SearchRow.id == name).desc()).limit(1))
        if row is None:
            names = list(session.scalars(select(SearchRow.name).order_by(SearchRow.created.desc()).limit(10)))
            known = ", ".join(names) or "none yet"
            raise NotFound(f"no search named {name!r}; there are: {known}")
        return row

    def _tell(self, session: Session, search: str, state: SearchState, detail: str = "", **more: Any) -> None:
        """Tell the watchers of a search of its new state, in the transaction that sets it."""
        self.events.put(session, search, "state", {"state": state, "detail": detail, **more})

    def _update(self, session: Session, record: SearchRecord, **values: Any) -> bool:
        # Fenced: a controller that lost its lease and woke up again changes nothing.
        statement = update(SearchRow).where(SearchRow.id == record.id, SearchRow.attempt == record.attempt)
        result = cast("CursorResult[Any]", session.execute(statement.values(**values)))
        return result.rowcount == 1


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
        served=row.served,
        losses=row.losses,
        submitter=row.submitter,
    )


def _served(submission: Submission) -> dict[str, Any]:
    return {
        "served": True,
        "submitter": submission.submitter,
        "idempotency_key": submission.key,
        "request_hash": submission.request,
    }
