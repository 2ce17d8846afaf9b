"""Low-rank adapter: a serial bottleneck whose two matrices are themselves products of ``rank`` columns and rows.

::

    h ──►(+)──► h + W_up gelu(W_down h)
      └─► W_down = left (width × rank) right (rank × size) ─► gelu ─► W_up = left (size × rank) right (rank × width) ┘

A baseline of Compacter that OpenDelta implements and S3Delta searches over. The activation is OpenDelta's default,
``gelu_new``, which is the tanh form; so is its initialisation, but for the last factor, which starts at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from autopeft.geometry import Site
from autopeft.modules.base import ModuleType, Options, like, matrix_rate
from autopeft.modules.layers import Gate, count_gate, gated, make_gate


class LowRankLinear(nn.Module):
    """``z left right + bias`` from ``(..., in)`` to ``(..., out)``; ``left`` is ``(in, rank)``, ``right`` the rest."""

    def __init__(self, in_width: int, out_width: int, rank: int, bias: bool) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(in_width, rank))
        self.right = nn.Parameter(torch.empty(rank, out_width))
        self.bias = nn.Parameter(torch.zeros(out_width)) if bias else None
        nn.init.xavier_uniform_(self.left)
        nn.init.xavier_uniform_(self.right)

    def forward(self, z: Tensor) -> Tensor:
        """Return the layer's output for ``z``."""
        out = z @ like(self.left, z) @ like(self.right, z)
        return out if self.bias is None else out + like(self.bias, z)


class LowRankAdapter(nn.Module):
    """``h + g W_up gelu(W_down h)``; ``W_up`` starts at zero, by its right factor alone. ``g`` is 1 without a gate."""

    def __init__(self, width: int, size: int, rank: int, bias: bool, gate: Gate | None) -> None:
        super().__init__()
        self.down = LowRankLinear(width, size, rank, bias)
        self.up = LowRankLinear(size, width, rank, bias)
        self.gate = gate
        nn.init.zeros_(self.up.right)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return ``h`` with the bottleneck's output for ``h`` added; ``x`` is not read."""
        hidden = functional.gelu(self.down(h), approximate="tanh")
        return h + gated(self.gate, h, self.up(hidden))


def _build(site: Site, size: int, options: Options) -> nn.Module:
    gate = make_gate(site.out_width, options)
    return LowRankAdapter(site.out_width, size, int(options["rank"]), bool(options["bias"]), gate)


def _count(site: Site, size: int, options: Options) -> int:
    both = site.out_width + size
    factors = 2 * int(options["rank"]) * both
    return factors + (both if options["bias"] else 0) + count_gate(site.out_width, options)


MODULE_TYPE = ModuleType(
    summary="low-rank adapter: h + W_up gelu(W_down h), both W of rank k",
    source="Mahabadi et al. 2021, arXiv 2106.04647; Hu et al. 2022, arXiv 2206.07382",
    kinds=frozenset({"sublayer"}),
    build=_build,
    count=_count,
    # Not measured yet: the serial adapter's, whose shape it has.
    learning_rate=matrix_rate(5e-3, at_size=48, falling=0.4, most=2e-2),
    sequential=True,
    options={"rank": 1, "bias": True, "gate": False},
)
