"""BitFit: a trained shift of a site's output, which is its bias whether or not the base model has one there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autopeft.geometry import Site
from autopeft.modules.base import Host, ModuleType, Options, like, vector_rate


class Shift(nn.Module):
    """``h + t`` with ``t`` of shape ``(width,)``, starting at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the shifted ``h``."""
        return h + like(self.shift, h)


def _build(site: Site, size: int, options: Options) -> nn.Module:
    return Shift(site.out_width)


def _count(site: Site, size: int, options: Options) -> int:
    return site.out_width


def _fold(delta: Shift, host: Host) -> None:
    host.shift(delta.shift)


MODULE_TYPE = ModuleType(
    summary="BitFit: h + t, the biases alone",
    source="Ben Zaken et al. 2022, arXiv 2106.10199",
    kinds=frozenset({"linear", "norm"}),
    build=_build,
    count=_count,
    learning_rate=vector_rate(4e-3),
    sized=False,
    fold=_fold,
)
