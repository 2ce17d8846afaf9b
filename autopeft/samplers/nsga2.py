"""NSGA-II with a population that fits the budgets of architecture search."""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

from autopeft.samplers.asking import ask_tell
from autopeft.space import SearchSpace

# Optuna's own default of 50 would spend a usual budget on its first, random generation.
POPULATION = 12


def _create(space: SearchSpace, seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=POPULATION)


SAMPLER = ask_tell(
    summary="the evolutionary NSGA-II", source="Deb et al. 2002; Optuna", create=_create, spread=POPULATION
)
