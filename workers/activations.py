"""What no trained weight changes, computed once for every row and kept; and no more padding than pays.

Nothing of it is trained and its dropout is off, so a run that reads it is the same function as one that computes it,
within rounding: what comes after sees the same hidden states, padded to another batch's length. A split is filled
whole and in an order of its own, so that a score does not depend on which run came first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autopeft.modules.attach import Attachment
from autopeft.modules.base import MEASURED_WIDTH
from autopeft.modules.pack import Pack
from workers.data import Batch, EncodedSplit
from workers.first_token import FirstToken
from workers.settled import Settled, below, computed_by, settled
from workers.shelf import Shelf, Stored

Forward = Callable[[Batch], Tensor]

FILL_BATCH = 64
# What calling every operation of a layer once more costs on a CPU, in tokens of MEASURED_WIDTH.
_CALLS = 64
# Tokens are cheaper in bfloat16, which a CPU is given where it multiplies that faster.
_CALLS_BFLOAT16 = 256


def piece_cost(dtype: torch.dtype, width: int) -> int:
    """Return what a further piece of a batch costs on a CPU, in tokens of a base model's type and width."""
    calls = _CALLS_BFLOAT16 if dtype == torch.bfloat16 else _CALLS
    return round(calls * (MEASURED_WIDTH / width) ** 2)


class _Reached(Exception):
    """What was to be computed is there; nothing after it needs to be."""


class _CannotStub(Exception):
    """A module gives more than its hidden states, so nothing can stand in for it."""


class Trunk:
    """Runs the model of an attachment or a pack, and of it no more than the logits need.

    Args:
        attached: the modules, on their model.
        shelf: where hidden states are kept.
    """

    def __init__(self, attached: Attachment | Pack, shelf: Shelf) -> None:
        self._model = attached.model
        self._geometry = attached.geometry
        self._lowest = attached.boundary
        self._shelf = shelf
        # A decoder's layers read the encoder's last states beside their own input.
        self._settled = [] if self._model.config.is_encoder_decoder else settled(attached)
        self._first = FirstToken(attached)
        # A pack knows its members' rows by their places in the batch, and a GPU is left idle by small ones.
        self._may_cut = isinstance(attached, Attachment) and self._model.device.type == "cpu"

    def forward(self, split: EncodedSplit) -> Forward:
        """Return what gives the logits of the split's batches, computing only what is not settled and stored."""
        given = self._stored(split)
        layers = self._geometry.layers
        shortened = self._first.possible and (not given or self._lowest < layers)
        one_token = shortened and self._lowest == layers - 1
        cost = piece_cost(self._model.dtype, self._geometry.width)

        def run(batch: Batch) -> Tensor:
            with ExitStack() as stack:
                self._give(stack, given, batch, one_token)
                if shortened:
                    stack.enter_context(self._first.alone())
                return _logits(self._model, batch)

        def run_cut(batch: Batch) -> Tensor:
            return torch.cat([run(piece) for piece in batch.cut(cost)])

        # Where no layer is left that computes all tokens, padding costs nothing.
        return run_cut if self._may_cut and not one_token and self._lowest < layers else run

    def _give(
        self, stack: ExitStack, given: Sequence[tuple[Settled, Stored]], batch: Batch, one_token: bool = False
    ) -> None:
        """Let the model read what is stored of a batch; of the lowest layer's own tokens only the first, if asked."""
        mask = batch.inputs["attention_mask"].bool().cpu()
        for one, stored in given:
            hidden = stored.padded(batch.rows, mask[:, :1] if one_token and one.own_tokens else mask)
            hidden = hidden.to(batch.targets.device)
            output = hidden if stored.nothing is None else (hidden, *[None] * stored.nothing)
            stack.enter_context(computed_by(self._model.base_model, one.stand_ins(output)))

    def _stored(self, split: EncodedSplit) -> list[tuple[Settled, Stored]]:
        """Return what is settled and stored, filled now where it is not yet and there is room."""
        found: list[tuple[Settled, Stored]] = []
        for one in self._settled:
            try:
                stored = self._shelf.find(split, one.path) or self._fill(split, one, found or self._nearest(split))
            except _CannotStub:
                self._settled = []
                return []
            except OSError:  # the disk has filled since: go on without
                continue
            if stored is not None:
                found.append((one, stored))
        return found

    def _nearest(self, split: EncodedSplit) -> list[tuple[Settled, Stored]]:
        """Return the highest of the layers below the lowest that are stored, if any are."""
        for boundary in range(self._lowest - 1, 0, -1):
            one = below(self._geometry, boundary)
            if stored := self._shelf.find(split, one.path):
                return [(one, stored)]
        return []

    @torch.no_grad()
    def _fill(self, split: EncodedSplit, wanted: Settled, given: Sequence[tuple[Settled, Stored]]) -> Stored | None:
        """Store a module's output for every row, from what is there already; return None where there is no room."""
        stored: Stored | None = None
        device = next(self._model.parameters()).device
        for rows, batch in split.sorted_batches(FILL_BATCH):
            output = self._output(wanted, given, batch.to(device))
            hidden = _hidden(output).cpu()
            if stored is None:
                nothing = None if isinstance(output, Tensor) else len(output) - 1
                stored = self._shelf.place(split, hidden.shape[-1], hidden.dtype, nothing)
                if stored is None:
                    return None
            mask = batch.inputs["attention_mask"].bool()
            stored.put(rows, mask, hidden.reshape(*mask.shape, -1))
        assert stored is not None, "a split has rows"
        self._shelf.keep(split, wanted.path, stored)
        return stored

    def _output(self, wanted: Settled, given: Sequence[tuple[Settled, Stored]], batch: Batch) -> Any:
        """Return what a module gives for a batch, before any hook changes it."""
        reached: list[Any] = []

        def stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
            reached.append(output)
            raise _Reached

        handle = self._model.base_model.get_submodule(wanted.path).register_forward_hook(stop, prepend=True)
        try:
            with ExitStack() as stack:
                self._give(stack, given, batch)
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


def _hidden(output: Any) -> Tensor:
    """Return the hidden states of a module's output.

    Raises:
        _CannotStub: there is more in it, as T5's position biases, which the layers above need.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple) and isinstance(output[0], Tensor) and all(more is None for more in output[1:]):
        return output[0]
    raise _CannotStub
