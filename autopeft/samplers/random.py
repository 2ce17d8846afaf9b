"""Uniform random sampling: the baseline that every other sampler must beat."""

from __future__ import annotations

from optuna.samplers import BaseSampler, RandomSampler

from autopeft.samplers.asking import ask_tell
from autopeft.space import SearchSpace


def _create(space: SearchSpace, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


SAMPLER = ask_tell(summary="uniform random points of the space", source="Optuna", create=_create)
