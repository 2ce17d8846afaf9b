"""Prefix tuning: trained keys and values that every query of a layer attends to, before the model's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autopeft.geometry import Site
from autopeft.modules.base import ModuleType, Options, vector_rate


class Prefix(nn.Module):
    """Keys and values of shape ``(length, width)`` each, without a reparameterising MLP."""

    def __init__(self, length: int, width: int, std: float) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.empty(length, width))
        self.values = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.keys, std=std)
        nn.init.normal_(self.values, std=std)

    def forward(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return keys and values as ``(batch_size, length, width)`` views."""
        shape = (batch_size, *self.keys.shape)
        return self.keys.expand(shape), self.values.expand(shape)


def _build(site: Site, size: int, options: Options) -> nn.Module:
    return Prefix(size, site.out_width, float(options["std"]))


def _count(site: Site, size: int, options: Options) -> int:
    return 2 * size * site.out_width


MODULE_TYPE = ModuleType(
    summary="prefix tuning: trained keys and values before the layer's own",
    source="Li and Liang 2021, arXiv 2101.00190; flat form of Liu et al. 2022, arXiv 2110.07602",
    kinds=frozenset({"kv"}),
    build=_build,
    count=_count,
    learning_rate=vector_rate(1e-1),
    identity=False,
    options={"std": 0.02},
)
