"""The dimensions that a search space is made of: named choices and ranges, with scalar values."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autopeft.architecture import Scalar

Point = Mapping[str, Scalar]


@dataclass(frozen=True)
class Choice:
    """One of a few values.

    Attributes:
        name: readable and prefixed, as ``lora.size`` or ``layers.03``.
        ordered: whether the values lie on a scale, so that neighbours are alike.
    """

    name: str
    choices: tuple[Scalar, ...]
    ordered: bool = False

    @property
    def cardinality(self) -> float:
        """Number of values."""
        return len(self.choices)

    def sample(self, rng: random.Random) -> Scalar:
        """Draw one value uniformly."""
        return rng.choice(self.choices)


@dataclass(frozen=True)
class Integers:
    """A whole number between ``low`` and ``high``, both included, drawn on a log scale."""

    name: str
    low: int
    high: int

    @property
    def cardinality(self) -> float:
        """Number of values."""
        return self.high - self.low + 1

    def sample(self, rng: random.Random) -> Scalar:
        """Draw one value, uniformly in its logarithm; each number stands for what rounds to it."""
        drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return min(max(round(drawn), self.low), self.high)


@dataclass(frozen=True)
class Range:
    """A real number between ``low`` and ``high``, both included; uniform in its logarithm if ``log``."""

    name: str
    low: float
    high: float
    log: bool = False

    @property
    def cardinality(self) -> float:
        """Infinite."""
        return math.inf

    def sample(self, rng: random.Random) -> Scalar:
        """Draw one value uniformly, in the logarithm if ``log``."""
        if not self.log:
            return rng.uniform(self.low, self.high)
        drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return min(max(drawn, self.low), self.high)  # what rounding put outside


Dimension = Choice | Integers | Range


def switch(name: str) -> Choice:
    """Return the dimension of what is on or off."""
    return Choice(name, (False, True))


def scale(name: str, values: Sequence[Scalar]) -> Choice:
    """Return an ordered choice of the values, once each, rising or falling, so that neighbours are alike."""
    # Narrow models reach size 1 more than once.
    once = list(dict.fromkeys(values))
    rising = sorted(once)
    return Choice(name, tuple(once if once == rising[::-1] else rising), ordered=True)
