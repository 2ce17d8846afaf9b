"""Syne Tune's own MOASHA as a peer in samplers.py: random points, of which its rule stops two thirds at every rung.

It needs ``pip install --no-deps syne-tune==0.16.0``, which is none of the project's requirements.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from autopeft.architecture import Architecture, Scalar
from autopeft.messages import Bar
from autopeft.space import Dimension, SearchSpace
from autopeft.trial import Trial

SYNE_TUNE = "syne-tune"
# A third and a ninth of the training are powers of the reduction factor, so that its rungs are those of the table.
FULL, REDUCTION = 9, 3
COLUMNS = ["params", "loss"]
Run = Callable[..., Trial]


@dataclass(frozen=True)
class _Drawn:
    """A dimension as MOASHA's configuration space takes it."""

    dimension: Dimension
    rng: random.Random

    def sample(self) -> Scalar:
        return self.dimension.sample(self.rng)


def syne_tune_trials(space: SearchSpace, run: Run, seed: int) -> Iterator[Trial]:
    """Yield the trials of a search, one after the other, as its scheduler has them run or stopped.

    Args:
        space: what is drawn from; what is drawn again is passed over.
        run: returns a trial of ``(number, architecture, params, seed, bars)``.
        seed: of the search.
    """
    from syne_tune.backend.trial_status import Trial as Started  # noqa: PLC0415 - no requirement
    from syne_tune.optimizer.scheduler import SchedulerDecision  # noqa: PLC0415 - no requirement
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA  # noqa: PLC0415 - no requirement

    np.random.seed(seed)  # its brackets are drawn from the global generator
    rng, known = random.Random(seed), {Architecture().fingerprint}
    scheduler = MOASHA(
        {dimension.name: _Drawn(dimension, rng) for dimension in space.dimensions},
        COLUMNS,
        max_t=FULL,
        reduction_factor=REDUCTION,
        random_seed=seed,
    )
    while True:
        point = scheduler.suggest().config
        architecture = space.decode(point)
        if architecture is None or architecture.fingerprint in known:
            continue
        known.add(architecture.fingerprint)
        params, number = space.params(architecture), len(known) - 1
        trial, started = run(number, architecture, params, seed), Started(number, point, creation_time=None)
        scheduler.on_trial_add(started)
        for step, score in trial.curve:
            share = step / trial.steps
            told = {"training_iteration": round(FULL * share), "params": params, "loss": -score}
            if step == trial.steps:
                scheduler.on_trial_complete(started, told)
            elif scheduler.on_trial_result(started, told) == SchedulerDecision.STOP:
                trial = run(number, architecture, params, seed, [Bar(share=share, score=score + 1)])
                scheduler.on_trial_remove(started)
                break
        yield trial
