"""What several module types are made of: linears that compute in the activation's type, and UniPELT's gate."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from autopeft.modules.base import Options, like


def linear(layer: nn.Linear, z: Tensor) -> Tensor:
    """Return the layer's output for ``z``, ``(..., in)`` to ``(..., out)``, in the type of ``z``."""
    bias = None if layer.bias is None else like(layer.bias, z)
    return functional.linear(z, like(layer.weight, z), bias)


class Gate(nn.Linear):
    """``sigmoid(w.z + b)``, from ``(..., width)`` to ``(..., 1)`` (UniPELT, Mao et al. 2022, arXiv 2110.07577).

    UniPELT's own code averages the gate over all tokens of a row, those of the padding too. Here every token has its
    own gate, so that a result depends neither on the padding nor, in a causal model, on what comes later. UniPELT puts
    LoRA's gate in the place of ``alpha/r``; here it multiplies that.

    Args:
        width: width of ``z``.
        pace: the trained tensors are ``w`` and ``b`` divided by this, so that they move that many times as fast as
            the learning rate says.
    """

    def __init__(self, width: int, pace: float = 1.0) -> None:
        super().__init__(width, 1)
        self.pace = pace
        # UniPELT's gates start as BERT's linears do.
        nn.init.normal_(self.weight, std=0.02 / pace)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the gate of each token."""
        return (linear(self, input) * self.pace).sigmoid()


def make_gate(width: int, options: Options, pace: float = 1.0) -> Gate | None:
    """Return a gate that reads ``width`` features where the options ask for one."""
    return Gate(width, pace) if options["gate"] else None


def count_gate(width: int, options: Options) -> int:
    """Return the parameters of :func:`make_gate`'s gate."""
    return width + 1 if options["gate"] else 0


def gated(gate: Gate | None, z: Tensor, update: Tensor) -> Tensor:
    """Return the update ``(..., out)``, multiplied by the gate of ``z`` ``(..., width)`` if there is one."""
    return update if gate is None else update * gate(z)
