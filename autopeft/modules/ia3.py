"""(IA)^3: a trained element-wise scale of keys, values and the feed-forward's hidden activations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autopeft.geometry import Site
from autopeft.modules.base import Host, ModuleType, Options, like, vector_rate


class Scale(nn.Module):
    """``s * h`` element by element, with ``s`` of shape ``(width,)``, starting at one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the scaled ``h``."""
        return h * like(self.scale, h)


def _build(site: Site, size: int, options: Options) -> nn.Module:
    return Scale(site.out_width)


def _count(site: Site, size: int, options: Options) -> int:
    return site.out_width


def _fold(delta: Scale, host: Host) -> None:
    host.scale(delta.scale)


MODULE_TYPE = ModuleType(
    summary="(IA)^3: s * h element by element",
    source="Liu et al. 2022, arXiv 2205.05638",
    kinds=frozenset({"linear", "hidden"}),
    build=_build,
    count=_count,
    learning_rate=vector_rate(2e-2),
    sized=False,
    sequential=True,
    fold=_fold,
)
