"""Which data files were sent to the service; the files themselves lie in the data folder."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

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

    def add(self, identity: str, owner: str, name: str, size: int, digest: str) -> Upload:
        """Record a file that lies in the data folder already."""
        with self._sessions.write() as session:
            created = self._sessions.now(session)
            row = UploadRow(id=identity, owner=owner, name=name, size=size, digest=digest, created=created)
            session.add(row)
            return _upload(row)

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
