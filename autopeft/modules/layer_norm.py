"""LayerNorm tuning: the gain of a norm, and its bias where asked for.

The gain is trained relative to the base model's own: ``g (1) -> g s`` is ``s * h`` on the norm's output, which is the
same family of functions without touching the base model's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autopeft.geometry import Site
from autopeft.modules.base import Host, ModuleType, Options, like, vector_rate


class Affine(nn.Module):
    """``s * h + t`` element by element; ``s`` starts at one, ``t`` (absent without ``bias``) at zero."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return ``h``, scaled and shifted."""
        scaled = h * like(self.scale, h)
        return scaled if self.shift is None else scaled + like(self.shift, h)


def _build(site: Site, size: int, options: Options) -> nn.Module:
    return Affine(site.out_width, bool(options["bias"]))


def _count(site: Site, size: int, options: Options) -> int:
    return site.out_width * (2 if options["bias"] else 1)


def _fold(delta: Affine, host: Host) -> None:
    host.scale(delta.scale)
    if delta.shift is not None:
        host.shift(delta.shift)


MODULE_TYPE = ModuleType(
    summary="LayerNorm tuning: s * h (+ t) on a norm's output",
    source="Zhao et al. 2024, arXiv 2312.11420",
    kinds=frozenset({"norm"}),
    build=_build,
    count=_count,
    learning_rate=vector_rate(2e-2),
    sized=False,
    sequential=True,
    fold=_fold,
    options={"bias": False},
)
