"""The multi-objective tree-structured Parzen estimator."""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from autopeft.samplers.asking import ask_tell
from autopeft.space import SearchSpace

# First points, which the model is first fitted to.
SPREAD = 12


def _create(space: SearchSpace, seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=SPREAD, constant_liar=True)


SAMPLER = ask_tell(
    summary="multi-objective tree-structured Parzen estimator",
    source="Ozaki et al. 2022, JAIR 73; Optuna",
    create=_create,
    spread=SPREAD,
)
