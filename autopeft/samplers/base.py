"""The contract of a sampler: it makes an Optuna sampler for a space.

The study that it samples from holds points of the space alone, with ordered choices by their position. Each is
complete with its cost (``log10(1 + params)``, minimised) and its score (maximised); points that were refused before
training are there as pruned, with the constraint that they break.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optuna.samplers import BaseSampler

from autopeft.space import SearchSpace


@dataclass(frozen=True)
class Sampler:
    """One way to choose the next architecture.

    Attributes:
        summary: one line for people.
        source: paper or library.
        create: makes the Optuna sampler for a space and a seed.
        spread: how many first points are spread evenly over the cost axis instead of asked from the sampler. Random
            points of a space are nearly all dear (its largest module decides), while half of a front is cheap.
    """

    summary: str
    source: str
    create: Callable[[SearchSpace, int], BaseSampler]
    spread: int = 0
