"""Files that are sent to the service: kept in the data folder under names of the service's own making."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.exceptions import HTTPException

from autopeft.errors import InvalidInput, NotFound, Problem
from autopeft.service.checking import Checker, Unavailable
from autopeft.service.curtain import UPLOAD
from autopeft.settings import Settings
from autopeft.store import Store
from autopeft.store.uploads import Upload

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
PARQUET = b"PAR1"
ENCODING = "utf-8"
LONGEST_NAME = 200
# A file that was being received so long ago will not be finished.
STALE_SECONDS = 24 * 3600.0


class OverQuota(InvalidInput):
    """A file with which its owner's files would have more bytes than they may."""


class UploadFolder:
    """Receives uploads and finds them again.

    Args:
        settings: data folder.
        store: where they are recorded.
        checker: looks at their content.
        quota: bytes that the files of one owner may have together.
    """

    def __init__(self, settings: Settings, store: Store, checker: Checker, quota: int) -> None:
        self._quota = quota
        self._folder = settings.home / "uploads"
        self._store = store
        self._checker = checker

    def resolve(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return a request whose task, if it is an upload, is named by the file's path.

        Raises:
            InvalidInput: there is no such upload.
        """
        task = document.get("task")
        name = task.get("name") if isinstance(task, dict) else task
        if not isinstance(name, str) or not name.startswith(UPLOAD):
            return document
        try:
            path = str(self._path(self._store.uploads.get(name.removeprefix(UPLOAD))))
        except NotFound as error:
            remedy = "no such upload; GET /api/v1/uploads lists them"
            raise InvalidInput(Problem("task", name, remedy)) from error
        return {**document, "task": {**task, "name": path} if isinstance(task, dict) else path}

    async def receive(self, owner: str, name: str, encoding: str, chunks: AsyncIterator[bytes], most: int) -> Upload:
        """Take a file in as it comes, look at it, and record it.

        Args:
            owner: whose it is.
            name: as its sender calls it; its suffix is its format.
            encoding: of a text file.
            chunks: its content.
            most: bytes that it may have.

        Raises:
            InvalidInput: it is not what its name says, or holds no table.
            OverQuota: its owner may not have so much.
            HTTPException: 413 where it is too large.
            Unavailable: the disk is full.
        """
        name = re.split(r"[\\/]", name)[-1]
        suffix = _suffix(name)
        _check_encoding(encoding)
        identity = f"u-{uuid.uuid4().hex[:16]}"
        path = self._folder / f"{identity}{suffix}"
        partial = path.with_name(f".{path.name}")
        try:
            content = _Content(name, suffix, encoding, most)
            left = self._quota - await to_thread.run_sync(self._store.uploads.used, owner)
            await to_thread.run_sync(self._prepare)
            with partial.open("xb") as file:
                async for chunk in chunks:
                    content.see(chunk)
                    if content.size > left:
                        raise self._over_quota(name)
                    await to_thread.run_sync(file.write, chunk)
                content.end()
                await to_thread.run_sync(_flush, file)
            await self._look(partial, name, encoding)
            await to_thread.run_sync(os.replace, partial, path)
            return await to_thread.run_sync(self._record, path, identity, owner, name, content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable("the data folder is full") from error
            raise
        finally:
            partial.unlink(missing_ok=True)

    def _record(self, path: Path, identity: str, owner: str, name: str, content: _Content) -> Upload:
        digest = content.digest.hexdigest()
        stored = self._store.uploads.add(identity, owner, name, content.size, digest, self._quota)
        if stored is None:  # another one of the owner's has come meanwhile
            path.unlink()
            raise self._over_quota(name)
        return stored

    def _over_quota(self, name: str) -> OverQuota:
        remedy = (
            f"with it all your files would have more than {self._quota} bytes; send a smaller one, use one that is "
            "there (GET /api/v1/uploads lists them), or have AUTOPEFT_UPLOAD_QUOTA raised"
        )
        return OverQuota(Problem("file", name, remedy))

    def _path(self, upload: Upload) -> Path:
        return self._folder / f"{upload.id}{_suffix(upload.name)}"

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(".u-*"):
            if left.stat().st_mtime < time.time() - STALE_SECONDS:
                left.unlink(missing_ok=True)

    async def _look(self, path: Path, name: str, encoding: str) -> None:
        try:
            await self._checker.run("head", path, encoding)
        except InvalidInput as error:
            raise InvalidInput(*(_renamed(problem, path.name, name) for problem in error.problems)) from error


class _Content:
    """What is found out of a file while it comes: size, digest, and whether it can be what its name says."""

    def __init__(self, name: str, suffix: str, encoding: str, most: int) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._name = name
        self._most = most
        self._parquet = suffix == ".parquet"
        self._start = b""
        self._decoder = None if self._parquet else codecs.getincrementaldecoder(encoding)()

    def see(self, chunk: bytes) -> None:
        """Take the next part in."""
        self.size += len(chunk)
        if self.size > self._most:
            raise HTTPException(413, f"larger than {self._most} bytes")
        self.digest.update(chunk)
        if len(self._start) < len(PARQUET):
            self._start += chunk[: len(PARQUET)]
        self._decode(chunk)

    def end(self) -> None:
        """Check what can be checked at the end alone."""
        if not self.size:
            raise InvalidInput(Problem("file", self._name, "empty; give a file with a header and rows"))
        if self._parquet and not self._start.startswith(PARQUET):
            raise InvalidInput(Problem("file", self._name, "no Parquet file, whatever its name says"))
        self._decode(b"", final=True)

    def _decode(self, chunk: bytes, final: bool = False) -> None:
        if self._decoder is None:
            return
        try:
            binary = "\0" in self._decoder.decode(chunk, final)
        except UnicodeError as error:
            remedy = "not text in the encoding that was named; save it as UTF-8, or name its own with ?encoding="
            raise InvalidInput(Problem("file", self._name, remedy)) from error
        if binary:
            raise InvalidInput(Problem("file", self._name, "binary data, whatever its name says"))


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES or len(name) > LONGEST_NAME or not name.isprintable():
        remedy = f"give a printable name of up to {LONGEST_NAME} characters that ends in {', '.join(SUFFIXES)}"
        raise InvalidInput(Problem("name", name, remedy))
    return suffix


def _check_encoding(encoding: str) -> None:
    try:
        if not encoding.isascii() or not isinstance("a".encode(encoding), bytes):
            raise LookupError
    except (LookupError, ValueError) as error:
        raise InvalidInput(Problem("encoding", encoding, "no text encoding; utf-8 is the common one")) from error


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _renamed(problem: Problem, path_name: str, name: str) -> Problem:
    return replace(
        problem, field=problem.field.replace(path_name, name), remedy=problem.remedy.replace(path_name, name)
    )
