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

from autopeft.geometry import Site
from autopeft.modules.base import ModuleType, Options, like, matrix_rate


class Lora(nn.Module):
    """``h + (alpha / rank) B A x``; ``A`` is ``(rank, in)``, ``B`` is ``(out, rank)`` and starts at zero."""

    def __init__(self, in_width: int, out_width: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, in_width))
        self.b = nn.Parameter(torch.zeros(out_width, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return ``h`` with the low-rank update of ``x`` added."""
        update = functional.linear(functional.linear(x, like(self.a, x)), like(self.b, x))
        return h + update * self.scale


def _build(site: Site, size: int, options: Options) -> nn.Module:
    alpha = float(options["alpha"]) or 2.0 * size
    return Lora(site.in_width, site.out_width, size, alpha)


def _count(site: Site, size: int, options: Options) -> int:
    return size * (site.in_width + site.out_width)


MODULE_TYPE = ModuleType(
    summary="LoRA: h + (alpha/r) B A x; alpha 0 stands for 2r",
    source="Hu et al. 2022, arXiv 2106.09685",
    kinds=frozenset({"linear"}),
    build=_build,
    count=_count,
    learning_rate=matrix_rate(5e-3, at_size=8, falling=0.5, most=1e-2),
    options={"alpha": 0.0},
)
