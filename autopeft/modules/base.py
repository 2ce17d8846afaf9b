"""The contract of a module type: how one PEFT module changes a site's representation ``h``.

A *delta* is a :class:`torch.nn.Module` called as ``delta(x, h)`` that returns the new ``h``; both have the shape
``(..., width)`` of their site. Parallel deltas read ``x``, the site's input; sequential ones read ``h``, already
changed by the parallel ones.

A module type for ``kv`` sites is for no others, and makes no deltas: it builds a
:class:`autopeft.modules.prefix.Prefix`, or an instance of a subclass, whose keys, values and gate
:mod:`autopeft.modules.attention` puts before the model's own. Such a site takes one module.

Where a trained delta makes of a linear or a norm another linear or norm, its type says how the two become one
(``fold``), and the model works without it; :mod:`autopeft.modules.folding` does so for whole architectures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autopeft.architecture import Scalar
from autopeft.geometry import Site, SiteKind

if TYPE_CHECKING:  # plans are checked and priced without torch
    from torch import Tensor, nn

Options = Mapping[str, Scalar]
Rate = Callable[[Site, int, Options], float]


class CannotFold(Exception):
    """A delta cannot become part of its host; the message says why."""


@dataclass(frozen=True)
class Host:
    """The layer that computes a site's ``h``, its parameters to be changed in place: ``h = weight x + bias``.

    Attributes:
        weight: of a linear ``(out, in)``; of a norm its gain, ``(width,)``. At a ``hidden`` site it is the linear that
            reads ``h``, turned so that its first dimension is that of ``h``, as everywhere.
        bias: ``(out,)``, or None where there is none, as at a ``hidden`` site.
    """

    weight: Tensor
    bias: Tensor | None

    def shift(self, by: Tensor) -> None:
        """Add to every ``h``.

        Raises:
            CannotFold: there is no bias that could hold it.
        """
        if self.bias is None:
            raise CannotFold("the base model has no bias there that could hold a shift")
        self.bias.add_(by)

    def scale(self, by: Tensor) -> None:
        """Multiply every ``h`` element by element."""
        self.weight.mul_(by.reshape(-1, *[1] * (self.weight.dim() - 1)))
        if self.bias is not None:
            self.bias.mul_(by)


def _as_given(size: int, options: dict[str, Scalar]) -> dict[str, Scalar]:
    return options


@dataclass(frozen=True)
class Allowed:
    """Which values an option may have, of those of its default's type.

    Attributes:
        words: what such a value is, after "must be".
        holds: whether a value is one.
    """

    words: str
    holds: Callable[[Any], bool]


POSITIVE = Allowed("a finite number above 0", lambda value: value > 0)
NOT_NEGATIVE = Allowed("a finite number of 0 or more", lambda value: value >= 0)


@dataclass(frozen=True)
class ModuleType:
    """One kind of PEFT module.

    Attributes:
        summary: one line for people, with the formula.
        source: paper that defines it.
        kinds: the kinds of site that it can change.
        build: makes the module for a site, a size and full options; must work on the ``meta`` device.
        count: closed formula of its trainable parameters, linear in the size, so that sizes can be solved for a
            budget; the tests hold ``build`` to it, and it to being linear.
        learning_rate: AdamW learning rate at which a module of this type, size and full options trains well at a
            site. What an option multiplies the output by, the rate is divided by.
        sized: whether it has a size (rank, bottleneck width, prefix length).
        sequential: whether it reads ``h`` after the parallel deltas, rather than ``x``.
        identity: whether the model's output is unchanged when the module is fresh.
        options: names and default values of its options; one of type int is a count of 1 or more.
        allowed: for options of which not every value of that type will do, those that will.
        fold: makes a trained delta part of its host, in place, or raises :class:`CannotFold`; None where no delta of
            this type can be part of a linear or a norm.
        canonical: maps a size and full options to the full options that mean the same in their one spelling.
    """

    summary: str
    source: str
    kinds: frozenset[SiteKind]
    build: Callable[[Site, int, Options], nn.Module]
    count: Callable[[Site, int, Options], int]
    learning_rate: Rate
    sized: bool = True
    sequential: bool = False
    identity: bool = True
    options: Options = field(default_factory=dict)
    allowed: Mapping[str, Allowed] = field(default_factory=dict)
    fold: Callable[[Any, Host], None] | None = None
    canonical: Callable[[int, dict[str, Scalar]], dict[str, Scalar]] = _as_given


# Width of MiniLM, the model on which the module types' learning rates were measured (docs/learning_rates.md).
MEASURED_WIDTH = 384


def _as_measured(size: int, options: Options) -> float:
    return 1.0


def matrix_rate(
    rate: float,
    *,
    at_size: int,
    falling: float,
    most: float = math.inf,
    scale: Callable[[int, Options], float] = _as_measured,
) -> Rate:
    """Return the learning rate of a module made of matrices.

    Under AdamW every weight moves by about the learning rate a step, so that the change of the output grows with the
    number of weights that add up in it, and with what that is multiplied by: the rate falls with the width of the
    input, with the size and with the scale.

    Args:
        rate: at :data:`MEASURED_WIDTH` and ``at_size``.
        at_size: size that ``rate`` was measured at.
        falling: exponent by which the rate falls as the size grows.
        most: upper bound, before the width and the scale count.
        scale: from a size and full options to what multiplies the output, as a multiple of what did when ``rate`` was
            measured.
    """

    def at(site: Site, size: int, options: Options) -> float:
        at_width = min(most, rate * math.pow(at_size / max(1, size), falling))
        return at_width * MEASURED_WIDTH / site.in_width / scale(size, options)

    return at


def vector_rate(rate: float) -> Rate:
    """Return the learning rate of a module whose weights each act on one feature alone: the same everywhere."""
    return lambda site, size, options: rate


def like(parameter: Tensor, activation: Tensor) -> Tensor:
    """Return the parameter in the activation's dtype: modules keep float32 weights and compute in the base's type."""
    return parameter.to(activation.dtype)
