"""The dimensions that a search space is made of: named choices and ranges, with scalar values."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
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


Dimension = Choice | Range
