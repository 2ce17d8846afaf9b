"""The tables. All times are those of the database's clock, in seconds since 1970, so that no two machines disagree."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, MetaData, String, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from autopeft.naming import LONGEST_NAME

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all tables; their names begin with ``autopeft_``, apart from Optuna's."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON}


class SearchRow(Base):
    """One search: what was asked for, how far it is, and which controller owns it until when.

    ``served`` searches are taken by whichever controller is free; ``losses`` counts the controllers in a row that
    were lost on it before they had finished a run.
    """

    __tablename__ = "autopeft_searches"
    __table_args__ = (
        Index("ix_autopeft_searches_idempotency", "submitter", "idempotency_key", unique=True),
        Index("ix_autopeft_searches_created", "created"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME), unique=True)
    spec: Mapped[dict[str, Any]]
    facts: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), index=True)
    detail: Mapped[str] = mapped_column(String(2000), default="")
    created: Mapped[float] = mapped_column(Float)
    seconds: Mapped[float] = mapped_column(Float, default=0.0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    owner: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    served: Mapped[bool] = mapped_column(default=False, server_default=false())
    losses: Mapped[int] = mapped_column(default=0, server_default="0")
    submitter: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    idempotency_key: Mapped[str | None] = mapped_column(String(LONGEST_NAME))
    request_hash: Mapped[str | None] = mapped_column(String(64))


class EvaluationRow(Base):
    """One finished training run of a search, whichever phase it belongs to."""

    __tablename__ = "autopeft_evaluations"
    __table_args__ = (
        UniqueConstraint("search_id", "fingerprint", "phase", "seed", name="uq_autopeft_evaluations_run"),
        Index("ix_autopeft_evaluations_known", "model_hash", "task_hash", "fingerprint"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    search_id: Mapped[str] = mapped_column(ForeignKey("autopeft_searches.id", ondelete="CASCADE"))
    phase: Mapped[str] = mapped_column(String(16))
    fingerprint: Mapped[str] = mapped_column(String(16))
    seed: Mapped[int]
    model_hash: Mapped[str] = mapped_column(String(64))
    task_hash: Mapped[str] = mapped_column(String(64))
    architecture: Mapped[dict[str, Any]]
    fidelity: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    created: Mapped[float] = mapped_column(Float)


class TrialRow(Base):
    """One trial as Optuna's record has it, where it can be paged and sorted without reading a whole study."""

    __tablename__ = "autopeft_trials"
    __table_args__ = (
        Index("ix_autopeft_trials_state", "search_id", "state"),
        Index("ix_autopeft_trials_score", "search_id", "score", "number"),
        # All that it takes to find a front, so that no trial is read as a whole for that.
        Index("ix_autopeft_trials_points", "search_id", "params", "score", "number", "name", "fingerprint"),
    )

    search_id: Mapped[str] = mapped_column(ForeignKey("autopeft_searches.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    fingerprint: Mapped[str] = mapped_column(String(16))
    params: Mapped[int] = mapped_column(BigInteger)
    score: Mapped[float | None]
    seconds: Mapped[float]
    body: Mapped[dict[str, Any]]
    updated: Mapped[float]


class EventRow(Base):
    """Something that happened to a search, as its watchers are told it."""

    __tablename__ = "autopeft_events"
    __table_args__ = (
        Index("ix_autopeft_events_search", "search_id", "id"),
        Index("ix_autopeft_events_kind", "search_id", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    search_id: Mapped[str] = mapped_column(ForeignKey("autopeft_searches.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(32))
    body: Mapped[dict[str, Any]]
    created: Mapped[float]


class ControllerRow(Base):
    """A controller that waits for searches; one that works is known by the search that it owns."""

    __tablename__ = "autopeft_controllers"

    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    seen: Mapped[float]


class TokenRow(Base):
    """A token of the service; only its digest is kept."""

    __tablename__ = "autopeft_tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(LONGEST_NAME))
    scopes: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[float]
    revoked: Mapped[bool] = mapped_column(default=False)


class UploadRow(Base):
    """A data file that was sent to the service; the file itself lies in the data folder under this id."""

    __tablename__ = "autopeft_uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(LONGEST_NAME))
    name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    size: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]
