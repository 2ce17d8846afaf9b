"""Brings base models and task files of one machine to another that lacks them.

What a request names by its path is packed as a :class:`Parcel`, which is named by its content. A machine that has the
same content under the same path, as on a shared disk, uses that. Any other keeps the files once in a folder of its
own. Bundled models, hub models, and tasks that any machine finds by name are not packed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from autopeft.base_models import BUNDLED
from autopeft.errors import AutopeftError, InvalidInput
from autopeft.messages import TrialRequest
from autopeft.tasks import find_source

CHUNK_BYTES = 16 * 1024**2
# Of a model's folder: its config, its weights and whatever its tokeniser reads; no pickles and no code.
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")

Role = Literal["model", "task"]
Pieces = Mapping[str, Iterable[bytes | memoryview]]
_FilesOf = Callable[[str], Iterable[Path]]


@dataclass(frozen=True)
class File:
    """One file of a parcel: its name in its folder, and the SHA-256 of its content in hexadecimal digits."""

    name: str
    digest: str


@dataclass(frozen=True)
class Parcel:
    """The files that a request names by one path.

    Attributes:
        role: the request's field that names them.
        path: as the request names it.
        folder: whether that is a folder, or the one file itself.
    """

    role: Role
    path: str
    folder: bool
    files: tuple[File, ...]

    @property
    def key(self) -> str:
        """SHA-256 (32 hexadecimal digits) of names and contents, wherever the files are."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()[:32]

    def address(self, folder: Path) -> str:
        """Return what a request calls the parcel when its files are in that folder."""
        return str(folder if self.folder else folder / self.files[0].name)


def pack(request: TrialRequest) -> tuple[Parcel, ...]:
    """Return the parcels of what a request names by path and this machine has; their files are read once for it."""
    packed = (_pack("model", request.model, _model_files), _pack("task", request.task.name, _task_files))
    return tuple(parcel for parcel in packed if parcel is not None)


def pieces(parcel: Parcel) -> Iterator[tuple[str, bytes]]:
    """Yield ``(file name, next bytes)`` of a parcel of this machine, file by file and from beginning to end."""
    folder = Path(os.path.expanduser(parcel.path))
    for file in parcel.files:
        with (folder / file.name if parcel.folder else folder).open("rb") as content:
            while piece := content.read(CHUNK_BYTES):
                yield file.name, piece


def find(parcel: Parcel, request: TrialRequest, kept: Path) -> str | None:
    """Return where this machine has a parcel: under the request's own path or in ``kept``; None where it lacks it."""
    if any(here.role == parcel.role and here.key == parcel.key for here in pack(request)):
        return parcel.path
    folder = kept / parcel.key
    return parcel.address(folder) if folder.is_dir() else None


def unpack(parcel: Parcel, content: Pieces, kept: Path) -> str:
    """Write a parcel into ``kept`` unless another process has, and return where it is.

    Raises:
        AutopeftError: what arrived is not what was packed.
    """
    folder, partial = kept / parcel.key, kept / f"{parcel.key}.partial"
    with _locked(kept / f"{parcel.key}.lock"):
        if not folder.is_dir():
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            partial.mkdir(parents=True)
            for file in parcel.files:
                _write(partial / file.name, file, content.get(file.name, ()))
            partial.rename(folder)
    return parcel.address(folder)


def readdress(request: TrialRequest, places: Mapping[Role, str]) -> TrialRequest:
    """Return the request with a model or task by the address that a machine has it under."""
    task = request.task.model_copy(update={"name": places.get("task", request.task.name)})
    return request.model_copy(update={"model": places.get("model", request.model), "task": task})


def _pack(role: Role, path: str, files_of: _FilesOf) -> Parcel | None:
    try:
        packed = tuple(File(file.name, _digest(file)) for file in sorted(files_of(path)))
    except (InvalidInput, OSError):  # not here, or not to be read: whoever needs it says so
        return None
    return Parcel(role, path, Path(os.path.expanduser(path)).is_dir(), packed) if packed else None


def _model_files(name: str) -> Iterable[Path]:
    folder = Path(os.path.expanduser(name))
    if name in BUNDLED or not folder.is_dir():
        return ()
    return {file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()}


def _task_files(name: str) -> Iterable[Path]:
    files_of = find_source(name).files
    return () if files_of is None else files_of(name)


def _digest(file: Path) -> str:
    found = file.stat()
    return _content_digest(str(file), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1024)
def _content_digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write(path: Path, file: File, content: Iterable[bytes | memoryview]) -> None:
    digest = hashlib.sha256()
    with path.open("xb") as out:
        for piece in content:
            digest.update(piece)
            out.write(piece)
    if digest.hexdigest() != file.digest:
        raise AutopeftError(f"{file.name} changed after the run was asked for, or on its way; start the search again")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
