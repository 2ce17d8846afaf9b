"""The contract of a module type: how one PEFT module changes a site's representation ``h``.

A *delta* is a :class:`torch.nn.Module` called as ``delta(x, h)`` that returns the new ``h``; both have the shape
``(..., width)`` of their site. Parallel deltas read ``x``, the site's input; sequential ones read ``h``, already
changed by the parallel ones. A module type for the ``kv`` site is called as ``module(batch_size)`` instead and
returns keys and values to put before the model's own (see :mod:`autopeft.modules.attention`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from autopeft.architecture import Scalar
from autopeft.geometry import Site, SiteKind

Options = Mapping[str, Scalar]


@dataclass(frozen=True)
class ModuleType:
    """One kind of PEFT module.

    Attributes:
        summary: one line for people, with the formula.
        source: paper that defines it.
        kinds: the kinds of site that it can change.
        build: makes the module for a site, a size and full options; must work on the ``meta`` device.
        count: closed formula of its trainable parameters; the tests hold ``build`` to it.
        learning_rate: AdamW learning rate at which this type trains well by default.
        sized: whether it has a size (rank, bottleneck width, prefix length).
        sequential: whether it reads ``h`` after the parallel deltas, rather than ``x``.
        identity: whether the model's output is unchanged when the module is fresh.
        options: names and default values of its options.
    """

    summary: str
    source: str
    kinds: frozenset[SiteKind]
    build: Callable[[Site, int, Options], nn.Module]
    count: Callable[[Site, int, Options], int]
    learning_rate: float
    sized: bool = True
    sequential: bool = False
    identity: bool = True
    options: Options = field(default_factory=dict)


def like(parameter: Tensor, activation: Tensor) -> Tensor:
    """Return the parameter in the activation's dtype: modules keep float32 weights and compute in the base's type."""
    return parameter.to(activation.dtype)
