"""Prefix tuning: trained keys and values that every query of a layer attends to, before the model's own.

With a gate (UniPELT, Mao et al. 2022, arXiv 2110.07577) the prefix's keys and values are multiplied by a scalar that
is read from the attention module's input. In an encoder it is one scalar for a sentence, as UniPELT has it: the mean
over its tokens, but here over those that are not padding. Where attention is causal, and in cross-attention, whose
queries are those of a causal decoder, that mean would tell a token what comes later, and while generating it is not
known yet. There every query multiplies the prefix by the gate of its own token. The first token's gate would do too,
but it is the same for all sentences that begin alike, as all do in models with a token for the beginning.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autopeft.geometry import Site
from autopeft.modules.base import NOT_NEGATIVE, ModuleType, Options, matrix_rate, vector_rate
from autopeft.modules.layers import Gate, count_gate, make_gate

_RATE = vector_rate(1e-1)
# At that rate a gate, which adds up all features of a token, would be shut or open for good after one step.
# Not measured yet: LoRA's rate.
_GATE_RATE = matrix_rate(5e-3, at_size=1, falling=0)


class Prefix(nn.Module):
    """Keys and values of shape ``(length, width)`` each, without a reparameterising MLP.

    Attributes:
        gate: what multiplies them, or None; :mod:`autopeft.modules.attention` applies it.
        crossing: whether the queries are another sequence's than the model's own keys.
    """

    def __init__(
        self, length: int, width: int, std: float, gate: Gate | None = None, *, crossing: bool = False
    ) -> None:
        super().__init__()
        self.gate = gate
        self.crossing = crossing
        self.keys = nn.Parameter(torch.empty(length, width))
        self.values = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.keys, std=std)
        nn.init.normal_(self.values, std=std)

    def forward(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return keys and values as ``(batch_size, length, width)`` views."""
        shape = (batch_size, *self.keys.shape)
        return self.keys.expand(shape), self.values.expand(shape)


def _build(site: Site, size: int, options: Options) -> nn.Module:
    pace = _GATE_RATE(site, size, options) / _RATE(site, size, options)
    gate = make_gate(site.in_width, options, pace)
    crossing = site.name.startswith("cross_attention")
    return Prefix(size, site.out_width, float(options["std"]), gate, crossing=crossing)


def _count(site: Site, size: int, options: Options) -> int:
    return 2 * size * site.out_width + count_gate(site.in_width, options)


MODULE_TYPE = ModuleType(
    summary="prefix tuning: trained keys and values before the layer's own",
    source="Li and Liang 2021, arXiv 2101.00190; flat form of Liu et al. 2022, arXiv 2110.07602",
    kinds=frozenset({"kv"}),
    build=_build,
    count=_count,
    learning_rate=_RATE,
    identity=False,
    options={"std": 0.02, "gate": False},
    allowed={"std": NOT_NEGATIVE},
)
