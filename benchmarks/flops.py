"""What training multiplies, counted, and the least that it could: LoRA on query and value, from a layer up.

The least, for an encoder of ``L`` layers of width ``d`` whose head reads one token, and a row of ``s`` tokens without
any padding, when what lies below the lowest layer ``k`` with a module is known already, and what the frozen query, key
and value of that layer give. A layer's products with its weights are ``24 d^2 s``, and attention's ``4 s^2 d``.

- forward: layers ``k`` and up, the first without query, key and value (``6 d^2 s``); of the last, keys and values of
  all tokens (``4 d^2 s``), the rest of one;
- backward: the same with attention's part twice, as weights are frozen and only activations have gradients; but not
  through the linears at which the modules of layer ``k`` sit, as nothing below them trains;
- modules and head: twice their parameters a token forward and four times backward, but twice for what reads an
  activation that has no gradient, or is frozen as the head's first layer (``d^2``) is.

Norms, softmax and the like are not counted, here or there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from autopeft.messages import TrialReport
from workers.activations import piece_cost
from workers.data import Batch, EncodedSplit
from workers.evaluation import EVALUATION_BATCH

RANK = 8


def count(run: Callable[[], object]) -> float:
    """Run something and return its floating-point operations in matrix products."""
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter:
        run()
    return float(counter.get_total_flops())


@dataclass(frozen=True)
class Least:
    """The least operations of runs.

    Attributes:
        width: of the hidden states; the feed-forward part is four times as wide.
        lowest: the layer from which on there are modules.
        head_params: parameters of the head that train; they read one token.
        dtype: of the base model, which decides how batches are cut.
    """

    layers: int
    width: int
    lowest: int
    head_params: int
    dtype: torch.dtype = torch.float32

    def training(self, lengths: Sequence[int]) -> float:
        """Return the least for a step on rows of so many tokens each, forward and backward."""
        return self.predicting(lengths) + sum(map(self._backward, lengths))

    def predicting(self, lengths: Sequence[int]) -> float:
        """Return the least for predictions."""
        return sum(map(self._forward, lengths))

    def trial(
        self, rows: EncodedSplit, held_out: EncodedSplit, report: TrialReport, batch_size: int, seed: int
    ) -> tuple[float, float]:
        """Return the least for a whole run with its evaluations; and for the same batches as they are padded."""
        batches = rows.shuffled_batches(batch_size, np.random.default_rng(seed))
        trained = [next(batches) for _ in range(report.steps)]
        scored = [batch for _, batch in held_out.sorted_batches(EVALUATION_BATCH)]
        found = []
        for lengths in (_lengths, self._padded):
            steps = sum(self.training(lengths(batch)) for batch in trained)
            found.append(steps + len(report.curve) * sum(self.predicting(lengths(batch)) for batch in scored))
        return found[0], found[1]

    def _padded(self, batch: Batch) -> list[int]:
        """Return the lengths of rows in the pieces that a batch is cut into for the layers that read all tokens."""
        pieces = batch.cut(piece_cost(self.dtype, self.width)) if self.lowest < self.layers - 1 else [batch]
        return [piece.inputs["input_ids"].shape[1] for piece in pieces for _ in piece.rows]

    def _forward(self, s: int) -> float:
        d, between = self.width, self.layers - 1 - self.lowest
        modules_and_head = 2 * self._module_tokens(s) * 2 * RANK * d + 2 * (d * d + self.head_params)
        if not between:
            return 18 * d * d + 4 * s * d + modules_and_head
        layer = 24 * d * d * s + 4 * s * s * d
        last = 4 * d * d * s + 20 * d * d + 4 * s * d
        return between * layer - 6 * d * d * s + last + modules_and_head

    def _backward(self, s: int) -> float:
        d, between = self.width, self.layers - 1 - self.lowest
        head = 2 * d * d + 4 * self.head_params
        own = RANK * d  # parameters of one of the two matrices of a module
        modules = (4 * self._module_tokens(s) * 2 - 2 * (s + (s if between else 1))) * own
        if not between:  # the last layer alone: the gradient ends at its query and value
            return 18 * d * d + 6 * s * d + modules + head
        lowest = 18 * d * d * s + 6 * s * s * d
        layer = 24 * d * d * s + 8 * s * s * d
        last = 4 * d * d * s + 20 * d * d + 8 * s * d
        return lowest + (between - 1) * layer + last + modules + head

    def _module_tokens(self, s: int) -> int:
        """Return the tokens that modules read, all together: in the last layer the query's reads one."""
        return 2 * s * (self.layers - 1 - self.lowest) + s + 1


def _lengths(batch: Batch) -> list[int]:
    return batch.inputs["attention_mask"].sum(dim=1).tolist()


def _forward_shape(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward_shape(grad: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


# What torch's counter leaves out; the backward pass computes the scores anew.
_ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward_shape,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward_shape,
}
