"""NSGA-II with a population that fits the budgets of architecture search."""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

from autopeft.samplers.base import Sampler
from autopeft.space import SearchSpace

# Optuna's own default of 50 would spend a usual budget on its first, random generation.
POPULATION = 12


def _create(space: SearchSpace, seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=POPULATION)


SAMPLER = Sampler(
    summary="the evolutionary NSGA-II", source="Deb et al. 2002; Optuna", create=_create, spread=POPULATION
)
