"""Tokenised rows, and the batches made of them: sorted by length, padded to their own longest row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from autopeft.tasks import Split, TaskData

# Batches are cut from length-sorted windows of this many batches: little padding, and still a different order
# at every epoch.
WINDOW = 16
SUBSET_SEED = 0
PLACES_SEED = 0


@dataclass(frozen=True)
class Batch:
    """Model inputs of shape ``(rows, longest)``, targets of shape ``(rows,)``, and the rows' places in their split."""

    inputs: dict[str, Tensor]
    targets: Tensor
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.targets.to(device), self.rows)

    def repeated(self, times: int) -> Batch:
        """Return the batch so many times, one after another."""
        inputs = {name: tensor.repeat(times, 1) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.targets.repeat(times), [*self.rows] * times)

    def chunks(self, rows: int) -> Iterator[Batch]:
        """Yield the batch in pieces of at most ``rows``."""
        for start in range(0, len(self), rows):
            piece = slice(start, start + rows)
            inputs = {name: tensor[piece] for name, tensor in self.inputs.items()}
            yield Batch(inputs, self.targets[piece], self.rows[piece])

    def cut(self, cost: int) -> list[Batch]:
        """Return the batch in pieces, each padded to its own longest row: cut in two as long as that saves tokens.

        Args:
            cost: of a further piece, in tokens.
        """
        edges = [0, *_cuts(self.inputs["attention_mask"].sum(dim=1), cost), len(self)]
        return [self] if len(edges) == 2 else [self._piece(slice(*span)) for span in pairwise(edges)]

    def _piece(self, rows: slice) -> Batch:
        longest = int(self.inputs["attention_mask"][rows].sum(dim=1).max())
        inputs = {name: tensor[rows, :longest] for name, tensor in self.inputs.items()}
        return Batch(inputs, self.targets[rows], self.rows[rows])


@dataclass(frozen=True, eq=False)
class EncodedSplit:
    """Token ids (and segment ids, where the tokeniser gives them) of every row, without padding.

    A split is itself and no other, so that what is kept for its rows can be found by it.
    """

    ids: Sequence[Sequence[int]]
    segments: Sequence[Sequence[int]] | None
    targets: Tensor
    pad_id: int
    _subsets: dict[int, EncodedSplit] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, rows: int | None) -> EncodedSplit:
        """Return at most ``rows`` rows, drawn once and for all: every trial and seed gets the same split."""
        if rows is None or rows >= len(self):
            return self
        if rows not in self._subsets:
            self._subsets[rows] = self.take(np.random.default_rng(SUBSET_SEED).permutation(len(self))[:rows])
        return self._subsets[rows]

    def take(self, rows: np.ndarray) -> EncodedSplit:
        """Return the rows of these indices, in the order of this split."""
        chosen = np.sort(rows)
        segments = None if self.segments is None else [self.segments[i] for i in chosen]
        return EncodedSplit(
            [self.ids[i] for i in chosen], segments, self.targets[torch.from_numpy(chosen)], self.pad_id
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return these rows as one padded batch."""
        longest = max(len(self.ids[i]) for i in indices)
        inputs = {
            "input_ids": _pad([self.ids[i] for i in indices], longest, self.pad_id),
            "attention_mask": _pad([[1] * len(self.ids[i]) for i in indices], longest, 0),
        }
        if self.segments is not None:
            inputs["token_type_ids"] = _pad([self.segments[i] for i in indices], longest, 0)
        return Batch(inputs, self.targets[list(indices)], list(indices))

    def sorted_batches(self, batch_size: int) -> Iterator[tuple[list[int], Batch]]:
        """Yield ``(row indices, batch)`` over all rows once, by length: the least padding there is."""
        order = sorted(range(len(self)), key=lambda i: len(self.ids[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield rows, self.batch(rows)

    def shuffled_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield batches for ever, epoch after epoch, in an order that the generator gives.

        Which rows are in a batch is the generator's; how long they are about, the batch's place says: passes that runs
        of several seeds share are padded little more than those of one.
        """
        return map(self.batch, self.shuffled_rows(batch_size, rng))

    def shuffled_rows(self, batch_size: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """Yield the rows of :meth:`shuffled_batches`."""
        window, places = batch_size * WINDOW, np.random.default_rng(PLACES_SEED)
        while True:
            order = rng.permutation(len(self))
            groups: list[list[int]] = []
            for start in range(0, len(order), window):
                part = sorted(order[start : start + window].tolist(), key=lambda i: len(self.ids[i]))
                groups.extend(part[i : i + batch_size] for i in range(0, len(part), batch_size))
            for group in places.permutation(len(groups)):
                yield groups[group]


@dataclass(frozen=True)
class EncodedTask:
    """A task's splits for one tokeniser. A regression's training targets are brought to mean 0 and deviation 1.

    Attributes:
        center, scale: a regression's output, times ``scale`` and plus ``center``, is in the task's own units.
    """

    data: TaskData
    train: EncodedSplit
    holdout: EncodedSplit
    validation: EncodedSplit
    test: EncodedSplit
    center: float = 0.0
    scale: float = 1.0

    def part(self, name: str) -> EncodedSplit:
        """Return one of the scored splits."""
        return {"holdout": self.holdout, "validation": self.validation, "test": self.test}[name]


def encode_task(data: TaskData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedTask:
    """Tokenise every split."""
    train = encode_split(data.train, tokenizer, max_length)
    center, scale = 0.0, 1.0
    if data.kind == "regression":
        center, scale = float(train.targets.mean()), float(train.targets.std()) or 1.0
        train = EncodedSplit(train.ids, train.segments, (train.targets - center) / scale, train.pad_id)
    holdout, validation, test = (
        encode_split(split, tokenizer, max_length) for split in (data.holdout, data.validation, data.test)
    )
    return EncodedTask(data, train, holdout, validation, test, center, scale)


def encode_split(split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedSplit:
    """Tokenise one split; texts longer than ``max_length`` tokens are cut.

    No text becomes a special token: one about HTML may have ``</s>`` in it, and T5 counts those.
    """
    second = None if split.second is None else list(split.second)
    encoded = tokenizer(
        list(split.first),
        second,
        truncation=True,
        max_length=max_length,
        split_special_tokens=True,
        return_special_tokens_mask=True,
    )
    # T5's tokeniser makes texts of pieces, its special tokens among them, and takes them all the same. Those of one
    # character are left: some models pad with "!", of which texts are full.
    named = [token for token in tokenizer.all_special_tokens if len(token) > 1 and token != tokenizer.unk_token]
    special = {tokenizer.convert_tokens_to_ids(token) for token in named}
    kept = [
        [own or token not in special for token, own in zip(row, mask, strict=True)]
        for row, mask in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    ]

    def tokens(name: str) -> list[list[int]]:
        return [list(compress(row, keep)) for row, keep in zip(encoded[name], kept, strict=True)]

    segments = tokens("token_type_ids") if "token_type_ids" in encoded and second is not None else None
    pad_id = tokenizer.pad_token_id or 0
    # A text of nothing but what the tokeniser drops has no token, and a model needs one.
    ids = [row or [pad_id] for row in tokens("input_ids")]
    return EncodedSplit(ids, segments, torch.from_numpy(split.targets), pad_id)


def _cuts(lengths: Tensor, cost: int) -> list[int]:
    """Return before which rows of these lengths a batch is to be cut, ascending."""
    rows = len(lengths)
    if rows == 1:
        return []
    first = torch.arange(1, rows)
    longest_before = lengths.cummax(0).values[:-1]
    longest_after = lengths.flip(0).cummax(0).values[:-1].flip(0)
    tokens = first * longest_before + (rows - first) * longest_after + cost
    if int(tokens.min()) >= rows * int(lengths.max()):
        return []
    at = int(first[tokens.argmin()])
    return [*_cuts(lengths[:at], cost), at, *(at + later for later in _cuts(lengths[at:], cost))]


def _pad(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows], dtype=torch.long)
