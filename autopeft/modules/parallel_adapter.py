"""Parallel adapter: a bottleneck beside a sub-layer, reading the sub-layer's input.

::

    x ──► sub-layer ───────────────────────────────(+)──► h
      └─► W_down (size × width) ─► relu ─► W_up ─► × scale ┘
"""

from __future__ import annotations

from torch import Tensor, nn

from autopeft.geometry import Site
from autopeft.modules.base import POSITIVE, ModuleType, Options, matrix_rate
from autopeft.modules.layers import Gate, gated, make_gate
from autopeft.modules.serial_adapter import Bottleneck, count_bottleneck

# By default and where the learning rate was measured.
MEASURED_SCALE = 4.0


class ParallelAdapter(nn.Module):
    """``h + g scale W_up relu(W_down x)``. Without a gate ``g`` is 1; with one it reads ``x``."""

    def __init__(self, in_width: int, out_width: int, size: int, scale: float, bias: bool, gate: Gate | None) -> None:
        super().__init__()
        self.scale = scale
        self.bottleneck = Bottleneck(in_width, out_width, size, bias)
        self.gate = gate

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return ``h`` with the scaled bottleneck's output for ``x`` added."""
        return h + gated(self.gate, x, self.bottleneck(x) * self.scale)


def _build(site: Site, size: int, options: Options) -> nn.Module:
    scale, bias = float(options["scale"]), bool(options["bias"])
    gate = make_gate(site.in_width, options)
    return ParallelAdapter(site.in_width, site.out_width, size, scale, bias, gate)


def _relative_scale(size: int, options: Options) -> float:
    return float(options["scale"]) / MEASURED_SCALE


MODULE_TYPE = ModuleType(
    summary="parallel adapter: h + s W_up relu(W_down x)",
    source="He et al. 2022, arXiv 2110.04366",
    kinds=frozenset({"sublayer"}),
    build=_build,
    count=count_bottleneck,
    learning_rate=matrix_rate(3e-3, at_size=48, falling=0.8, most=1e-2, scale=_relative_scale),
    options={"scale": MEASURED_SCALE, "bias": True, "gate": False},
    allowed={"scale": POSITIVE},
)
