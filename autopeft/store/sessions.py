"""Transactions on the store's database, and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Float, cast, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from autopeft.database import READ_ONLY, open_engine
from autopeft.store.schema import upgrade


class Sessions:
    """What every part of the store opens its transactions with; the tables are brought up to date first.

    Args:
        url: SQLAlchemy URL.
        patience: seconds for which a database that is away is waited for.
    """

    def __init__(self, url: str, patience: float) -> None:
        self.engine = open_engine(url, patience)
        self._reading = self.engine.execution_options(**READ_ONLY)
        upgrade(self.engine)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session whose changes are on disk when the block has ended."""
        with Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that only reads, and waits for no writer."""
        with Session(self._reading) as session, session.begin():
            yield session

    def now(self, session: Session) -> float:
        """Return the database's time in seconds since 1970, the only clock that all machines share."""
        clock: ColumnElement[float]
        if self.engine.dialect.name == "sqlite":
            clock = cast((func.julianday("now") - 2440587.5) * 86400.0, Float)
        else:
            clock = cast(func.extract("epoch", func.clock_timestamp()), Float)
        return float(session.scalar(select(clock)) or 0.0)
