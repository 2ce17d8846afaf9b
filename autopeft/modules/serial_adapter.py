"""Serial adapter: a bottleneck after a sub-layer, as Houlsby (both sub-layers) and Pfeiffer (feed-forward) place it.

::

    h ──►(+)──► h + W_up relu(W_down h)
      └─► W_down (size × width) ─► relu ─► W_up (width × size) ┘
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from autopeft.geometry import Site
from autopeft.modules.base import ModuleType, Options, matrix_rate
from autopeft.modules.layers import Gate, count_gate, gated, linear, make_gate


class Bottleneck(nn.Module):
    """``W_up relu(W_down z)`` from ``(..., in)`` to ``(..., out)``; ``W_up`` starts at zero."""

    def __init__(self, in_width: int, out_width: int, size: int, bias: bool) -> None:
        super().__init__()
        self.down = nn.Linear(in_width, size, bias=bias)
        self.up = nn.Linear(size, out_width, bias=bias)
        nn.init.zeros_(self.up.weight)
        if bias:
            nn.init.zeros_(self.down.bias)
            nn.init.zeros_(self.up.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Return the bottleneck's output for ``z``."""
        hidden = functional.relu(linear(self.down, z))
        return linear(self.up, hidden)


class SerialAdapter(nn.Module):
    """``h + g W_up relu(W_down h)``: a bottleneck that reads what it changes. ``g`` is 1 without a gate."""

    def __init__(self, width: int, size: int, bias: bool, gate: Gate | None) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(width, width, size, bias)
        self.gate = gate

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return ``h`` with the bottleneck's output for ``h`` added; ``x`` is not read."""
        return h + gated(self.gate, h, self.bottleneck(h))


def count_bottleneck(site: Site, size: int, options: Options) -> int:
    """Return the parameters of a bottleneck: both weights, and both biases and the gate where the options ask."""
    biases = size + site.out_width if options["bias"] else 0
    return size * (site.in_width + site.out_width) + biases + count_gate(site.in_width, options)


def _build(site: Site, size: int, options: Options) -> nn.Module:
    return SerialAdapter(site.out_width, size, bool(options["bias"]), make_gate(site.out_width, options))


MODULE_TYPE = ModuleType(
    summary="serial adapter: h + W_up relu(W_down h)",
    source="Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2021, arXiv 2005.00247",
    kinds=frozenset({"sublayer"}),
    build=_build,
    count=count_bottleneck,
    learning_rate=matrix_rate(5e-3, at_size=48, falling=0.4, most=2e-2),
    sequential=True,
    options={"bias": True, "gate": False},
)
