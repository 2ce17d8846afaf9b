"""What the frozen layers below an architecture's lowest module give, computed once for every row and kept.

Nothing there is trained and its dropout is off, so a run that reads it is the same function as one that computes it,
within rounding: layers above see the same hidden states, padded to another batch's length. A split is filled whole and
in an order of its own, so that a score does not depend on which run came first.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autopeft.modules.attach import Attachment
from autopeft.modules.pack import Pack
from workers.data import Batch, EncodedSplit
from workers.devices import machine_memory, share_of_machine
from workers.first_token import FirstToken

Forward = Callable[[Batch], Tensor]

FILL_BATCH = 64
# Shares of the machine's memory, and of what is free on its disk, that the hidden states of all its workers may take.
MEMORY_SHARE, DISK_SHARE = 1 / 4, 1 / 2


class _Reached(Exception):
    """The boundary was reached; nothing above it needs to be computed."""


class _CannotStub(Exception):
    """A layer gives more than its hidden states, so nothing can stand in for it."""


@dataclass(frozen=True)
class Stored:
    """Hidden states of a split's rows at a boundary, without padding.

    Attributes:
        flat: ``(tokens + 1, width)``, row after row, in the base's type; the last is zero, for padding.
        first: index in ``flat`` of each row's first token.
        nothing: how many times None a layer gives after its hidden states; None where it gives these alone.
    """

    flat: Tensor
    first: Tensor
    nothing: int | None

    def padded(self, rows: Sequence[int], mask: Tensor) -> Tensor:
        """Return rows as ``(rows, longest, width)``; ``mask`` of shape ``(rows, longest)`` says where tokens are."""
        index = self.first[list(rows)][:, None] + torch.arange(mask.shape[1])
        return self.flat[index.where(mask.bool(), len(self.flat) - 1)]

    def as_output(self, hidden: Tensor) -> Any:
        """Return hidden states as a layer gives them."""
        return hidden if self.nothing is None else (hidden, *[None] * self.nothing)


@dataclass
class Shelf:
    """Stored hidden states up to a limit: in memory, then in files mapped into it; the oldest give way.

    Files have no name, so nobody can change or remove them under a run, and they go with the process.
    """

    memory: int = field(default_factory=lambda: int(MEMORY_SHARE * share_of_machine() * machine_memory()))
    disk: int = field(default_factory=lambda: int(DISK_SHARE * share_of_machine() * _free_disk()))
    _kept: OrderedDict[tuple[EncodedSplit, int], tuple[Stored, int, bool]] = field(default_factory=OrderedDict)

    def find(self, split: EncodedSplit, boundary: int) -> Stored | None:
        """Return what is kept, and count it as used."""
        if (split, boundary) not in self._kept:
            return None
        self._kept.move_to_end((split, boundary))
        return self._kept[split, boundary][0]

    def nearest(self, split: EncodedSplit, boundary: int) -> tuple[int, Stored | None]:
        """Return the highest boundary below this one at which the split is kept, or 0."""
        lower = [at for one, at in self._kept if one is split and at < boundary]
        return (max(lower), self.find(split, max(lower))) if lower else (0, None)

    def room(self, size: int) -> bool | None:
        """Make room for so many bytes; return whether it is in memory (else in a file), or None for no room at all."""
        limits = {True: self.memory, False: self.disk}
        while True:
            for in_memory, limit in limits.items():
                if size + sum(held for _, held, there in self._kept.values() if there == in_memory) <= limit:
                    return in_memory
            in_the_way = next((key for key, (*_, there) in self._kept.items() if size <= limits[there]), None)
            if in_the_way is None:
                return None
            del self._kept[in_the_way]

    def keep(self, split: EncodedSplit, boundary: int, stored: Stored, in_memory: bool) -> None:
        """Keep hidden states for which there is room."""
        self._kept[split, boundary] = (stored, stored.flat.nbytes, in_memory)

    def clear(self) -> None:
        """Keep nothing: another base model is there."""
        self._kept.clear()


class Trunk:
    """Runs the model of an attachment or a pack, and of it no more than the logits need.

    Args:
        attached: the modules, on their model.
        shelf: where hidden states are kept.
    """

    def __init__(self, attached: Attachment | Pack, shelf: Shelf) -> None:
        self._model = attached.model
        self._boundary = attached.boundary
        self._shelf = shelf
        self._layers = [self._model.base_model.get_submodule(path) for path in attached.geometry.layer_paths]
        # A decoder's layers read the encoder's last states beside their own input.
        self._can_store = self._boundary > 0 and not self._model.config.is_encoder_decoder
        self._first = FirstToken(attached)

    def forward(self, split: EncodedSplit) -> Forward:
        """Return what gives the logits of the split's batches; from the boundary up, where states can be stored."""
        stored = self._stored(split) if self._can_store else None
        shortened = self._first.possible and (stored is None or self._boundary < len(self._layers))

        def run(batch: Batch) -> Tensor:
            with ExitStack() as stack:
                if stored is not None:
                    hidden = stored.padded(batch.rows, batch.inputs["attention_mask"].cpu()).to(batch.targets.device)
                    stack.enter_context(_stubs(self._layers[: self._boundary], stored.as_output(hidden)))
                if shortened:
                    stack.enter_context(self._first.alone())
                return _logits(self._model, batch)

        return run

    def _stored(self, split: EncodedSplit) -> Stored | None:
        found = self._shelf.find(split, self._boundary)
        if found is not None:
            return found
        try:
            return self._fill(split)
        except _CannotStub:
            self._can_store = False
        except OSError:  # the disk has filled since: go on without
            pass
        return None

    @torch.no_grad()
    def _fill(self, split: EncodedSplit) -> Stored | None:
        lengths = torch.tensor([len(ids) for ids in split.ids])
        first = lengths.cumsum(0) - lengths
        below, lower = self._shelf.nearest(split, self._boundary)
        stored: Stored | None = None
        device = next(self._model.parameters()).device
        for rows, batch in split.sorted_batches(FILL_BATCH):
            mask = batch.inputs["attention_mask"].bool()
            given = None if lower is None else lower.as_output(lower.padded(rows, mask).to(device))
            output = self._up_to_boundary(batch.to(device), self._layers[:below], given)
            hidden = _hidden(output).cpu()
            if stored is None:
                shape = (int(lengths.sum()) + 1, hidden.shape[-1])
                in_memory = self._shelf.room(math.prod(shape) * hidden.element_size())
                if in_memory is None:
                    return None
                nothing = None if isinstance(output, Tensor) else len(output) - 1
                stored = Stored(_empty(shape, hidden.dtype, in_memory), first, nothing)
                stored.flat[-1] = 0
            index = first[rows][:, None] + torch.arange(mask.shape[1])
            stored.flat[index[mask]] = hidden[mask]
        assert stored is not None and in_memory is not None, "a split has rows"
        self._shelf.keep(split, self._boundary, stored, in_memory)
        return stored

    def _up_to_boundary(self, batch: Batch, below: Sequence[nn.Module], given: Any) -> Any:
        """Return what the layer below the boundary gives; the layers ``below`` are given as computed."""
        reached: list[Any] = []

        def stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
            reached.append(output)
            raise _Reached

        handle = self._layers[self._boundary - 1].register_forward_hook(stop)
        try:
            with _stubs(below, given):
                self._model(**batch.inputs)
        except _Reached:
            pass
        finally:
            handle.remove()
        return reached[0]


def plain(model: PreTrainedModel) -> Forward:
    """Return what gives the logits of batches by running the whole model."""
    return partial(_logits, model)


def _logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    logits: Tensor = model(**batch.inputs).logits
    return logits


@contextmanager
def _stubs(layers: Sequence[nn.Module], output: Any) -> Iterator[None]:
    """Let layers give this output without computing anything."""
    try:
        for layer in layers:
            # In the layer's own dictionary, where it hides the method of its class.
            layer.__dict__["forward"] = lambda *_, **__: output
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _hidden(output: Any) -> Tensor:
    """Return the hidden states of a layer's output.

    Raises:
        _CannotStub: there is more in it, as T5's position biases, which the layers above need.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple) and isinstance(output[0], Tensor) and all(more is None for more in output[1:]):
        return output[0]
    raise _CannotStub


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
