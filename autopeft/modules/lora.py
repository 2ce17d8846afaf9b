"""LoRA: a low-rank update beside a frozen linear.

::

    x ──► W x ─────────────────────────(+)──► h
      └─► A (size × in) ─► B (out × size) ─► × alpha/size ┘
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from autopeft.architecture import Scalar
from autopeft.geometry import Site
from autopeft.modules.base import NOT_NEGATIVE, CannotFold, Host, ModuleType, Options, like, matrix_rate
from autopeft.modules.layers import Gate, count_gate, gated, make_gate

# Alpha over the rank, by default and where the learning rate was measured.
MEASURED_RATIO = 2.0


class Lora(nn.Module):
    """``h + g (alpha / rank) B A x``; ``A`` is ``(rank, in)``, ``B`` is ``(out, rank)`` and starts at zero.

    Without a gate ``g`` is 1; with one it reads ``x``.
    """

    def __init__(self, in_width: int, out_width: int, rank: int, alpha: float, gate: Gate | None) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, in_width))
        self.b = nn.Parameter(torch.zeros(out_width, rank))
        self.gate = gate
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return ``h`` with the low-rank update of ``x`` added."""
        update = functional.linear(functional.linear(x, like(self.a, x)), like(self.b, x))
        return h + gated(self.gate, x, update * self.scale)


def _alpha(size: int, options: Options) -> float:
    return float(options["alpha"]) or MEASURED_RATIO * size


def _build(site: Site, size: int, options: Options) -> nn.Module:
    return Lora(site.in_width, site.out_width, size, _alpha(size, options), make_gate(site.in_width, options))


def _count(site: Site, size: int, options: Options) -> int:
    return size * (site.in_width + site.out_width) + count_gate(site.in_width, options)


def _fold(delta: Lora, host: Host) -> None:
    if delta.gate is not None:
        raise CannotFold("its gate is another for every token")
    host.weight.add_(delta.scale * (delta.b @ delta.a))


def _canonical(size: int, options: dict[str, Scalar]) -> dict[str, Scalar]:
    return {**options, "alpha": 0.0} if options["alpha"] == MEASURED_RATIO * size else options


def _relative_scale(size: int, options: Options) -> float:
    return _alpha(size, options) / (MEASURED_RATIO * size)


MODULE_TYPE = ModuleType(
    summary="LoRA: h + (alpha/r) B A x; alpha 0 stands for 2r",
    source="Hu et al. 2022, arXiv 2106.09685",
    kinds=frozenset({"linear"}),
    build=_build,
    count=_count,
    learning_rate=matrix_rate(5e-3, at_size=8, falling=0.5, most=1e-2, scale=_relative_scale),
    options={"alpha": 0.0, "gate": False},
    allowed={"alpha": NOT_NEGATIVE},
    fold=_fold,
    canonical=_canonical,
)
