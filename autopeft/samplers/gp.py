"""Optuna's Gaussian process with expected hypervolume improvement."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler

from autopeft.samplers.asking import ask_tell
from autopeft.space import SearchSpace

# First points, which the model is first fitted to.
SPREAD = 12


def _create(space: SearchSpace, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return GPSampler(seed=seed, n_startup_trials=SPREAD)


SAMPLER = ask_tell(
    summary="Gaussian process with log expected hypervolume improvement",
    source="Optuna",
    create=_create,
    spread=SPREAD,
)
