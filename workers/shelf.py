"""Where what a frozen model computes for every row is kept: in memory, and beyond that in files."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workers.data import EncodedSplit
from workers.devices import machine_memory, share_of_machine

# Shares of the machine's memory, and of what is free on its disk, that what all its workers keep may take.
MEMORY_SHARE, DISK_SHARE = 1 / 4, 1 / 2


@dataclass(frozen=True)
class Stored:
    """What a module gives for every token of a split's rows, without padding.

    Attributes:
        flat: ``(tokens + 1, width)``, row after row, in the base's type; the last is zero, for padding.
        first: index in ``flat`` of each row's first token.
        nothing: how many times None the module gives after its tensor; None where it gives this alone.
        in_memory: whether it is; else it is mapped from a file.
    """

    flat: Tensor
    first: Tensor
    nothing: int | None
    in_memory: bool

    def padded(self, rows: Sequence[int], mask: Tensor) -> Tensor:
        """Return rows as ``(rows, longest, width)``; ``mask`` of shape ``(rows, longest)`` says where tokens are."""
        return self.flat[self._index(rows, mask).where(mask, len(self.flat) - 1)]

    def put(self, rows: Sequence[int], mask: Tensor, padded: Tensor) -> None:
        """Take in rows in the shape in which :meth:`padded` returns them."""
        self.flat[self._index(rows, mask)[mask]] = padded[mask]

    def _index(self, rows: Sequence[int], mask: Tensor) -> Tensor:
        return self.first[list(rows)][:, None] + torch.arange(mask.shape[1])


@dataclass
class Shelf:
    """What is kept of splits, by paths of modules, up to a limit: in memory, then in files; the oldest give way.

    Files have no name, so nobody can change or remove them under a run, and they go with the process.
    """

    memory: int = field(default_factory=lambda: int(MEMORY_SHARE * share_of_machine() * machine_memory()))
    disk: int = field(default_factory=lambda: int(DISK_SHARE * share_of_machine() * _free_disk()))
    _kept: OrderedDict[tuple[EncodedSplit, str], Stored] = field(default_factory=OrderedDict)

    def find(self, split: EncodedSplit, path: str) -> Stored | None:
        """Return what is kept, and count it as used."""
        if (split, path) not in self._kept:
            return None
        self._kept.move_to_end((split, path))
        return self._kept[split, path]

    def place(self, split: EncodedSplit, width: int, dtype: torch.dtype, nothing: int | None) -> Stored | None:
        """Return a place for every token of a split, to be filled and then kept; None where there is no room.

        Raises:
            OSError: the disk has filled since its limit was taken.
        """
        lengths = torch.tensor([len(ids) for ids in split.ids])
        shape = (int(lengths.sum()) + 1, width)
        in_memory = self._room(math.prod(shape) * dtype.itemsize)
        if in_memory is None:
            return None
        stored = Stored(_empty(shape, dtype, in_memory), lengths.cumsum(0) - lengths, nothing, in_memory)
        stored.flat[-1] = 0
        return stored

    def keep(self, split: EncodedSplit, path: str, stored: Stored) -> None:
        """Keep what :meth:`place` gave, once it is filled."""
        self._kept[split, path] = stored

    def clear(self) -> None:
        """Keep nothing: another base model is there."""
        self._kept.clear()

    def _room(self, size: int) -> bool | None:
        """Make room for so many bytes; return whether it is in memory (else in a file), or None for no room at all."""
        limits = {True: self.memory, False: self.disk}
        while True:
            for in_memory, limit in limits.items():
                if size + sum(one.flat.nbytes for one in self._kept.values() if one.in_memory == in_memory) <= limit:
                    return in_memory
            in_the_way = next((key for key, one in self._kept.items() if size <= limits[one.in_memory]), None)
            if in_the_way is None:
                return None
            del self._kept[in_the_way]


def _empty(shape: tuple[int, int], dtype: torch.dtype, in_memory: bool) -> Tensor:
    if in_memory:
        return torch.empty(shape, dtype=dtype)
    size = math.prod(shape)
    with tempfile.NamedTemporaryFile(prefix="autopeft-") as file:
        # Written out now, so that a full disk is an error here and not a signal when a page is first touched.
        os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
        return torch.from_file(file.name, shared=True, size=size, dtype=dtype).reshape(shape)


def _free_disk() -> int:
    return shutil.disk_usage(tempfile.gettempdir()).free
