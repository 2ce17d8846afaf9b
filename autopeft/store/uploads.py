"""Which data files were sent to the service; the files themselves lie in the data folder."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from autopeft.errors import NotFound
from autopeft.store.sessions import Sessions
from autopeft.store.tables import UploadRow


@dataclass(frozen=True)
class Upload:
    """One file.

    Attributes:
        name: as its sender called it; never used as a path.
        size: in bytes.
        digest: SHA-256 of the content, in hexadecimal digits.
    """

    id: str
    owner: str
    name: str
    size: int
    digest: str
    created: float


class Uploads:
    """All uploads."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, identity: str, owner: str, name: str, size: int, digest: str, most: int) -> Upload | None:
        """Record a file that lies in the data folder; None if its owner's files would have more than so many bytes."""
        with self._sessions.write() as session:
            if self._sessions.engine.dialect.name == "postgresql":
                # Two files that an owner sends at once must see each other; elsewhere writers take turns anyway.
                session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"autopeft uploads {owner}"))))
            if self._used(session, owner) + size > most:
                return None
            created = self._sessions.now(session)
            row = UploadRow(id=identity, owner=owner, name=name, size=size, digest=digest, created=created)
            session.add(row)
            return _upload(row)

    def used(self, owner: str) -> int:
        """Return how many bytes the files of an owner have."""
        with self._sessions.read() as session:
            return self._used(session, owner)

    def _used(self, session: Session, owner: str) -> int:
        return int(session.scalar(select(func.sum(UploadRow.size)).where(UploadRow.owner == owner)) or 0)

    def get(self, identity: str) -> Upload:
        """Return an upload by its id.

        Raises:
            NotFound: there is none.
        """
        with self._sessions.read() as session:
            row = session.get(UploadRow, identity)
            if row is None:
                raise NotFound(f"no upload {identity[:40]!r}")
            return _upload(row)

    def list(self) -> list[Upload]:
        """Return all uploads, newest first."""
        with self._sessions.read() as session:
            return [_upload(row) for row in session.scalars(select(UploadRow).order_by(UploadRow.created.desc()))]


def _upload(row: UploadRow) -> Upload:
    return Upload(row.id, row.owner, row.name, row.size, row.digest, row.created)
