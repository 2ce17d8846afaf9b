"""Choosing by an Optuna sampler, one point after another.

The sampler works on a study in memory (see :mod:`autopeft.samplers.memory`). What it proposes is taken if it is new
and admitted; where it is stuck, random points help.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import optuna
from optuna.samplers import BaseSampler

from autopeft.samplers.base import Proposal, Sampler, Setting
from autopeft.samplers.drawing import draw_at_random, first_new
from autopeft.samplers.memory import Memory
from autopeft.samplers.spread import Spread
from autopeft.space import Point, SearchSpace
from autopeft.trial import Trial

# A sampler that proposes known or refused points this often in a row gets help from random points.
PATIENCE = 20

Create = Callable[[SearchSpace, int], BaseSampler]


def ask_tell(*, summary: str, source: str, create: Create, spread: int = 0) -> Sampler:
    """Return the sampler that asks an Optuna sampler.

    Args:
        summary: one line for people.
        source: paper or library.
        create: makes the Optuna sampler for a space and a seed.
        spread: how many first points are spread evenly over the cost axis instead of asked from the sampler.
    """
    return Sampler(
        summary,
        source,
        lambda setting: AskTell(setting, create, spread),
        takes_more_objectives=True,
        spread=spread,
    )


class AskTell:
    """The chooser that asks an Optuna sampler."""

    def __init__(self, setting: Setting, create: Create, spread: int) -> None:
        self.space = setting.space
        self._setting = setting
        self._spread = spread
        # A resumed sampler has lost its random state: it goes on from a seed of its own, not from its start.
        seed = setting.seed + 1_000_003 * len(setting.past)
        self._random = random.Random(seed)
        self._first = Spread(setting, self._random)
        self._memory = Memory(setting.space, create(setting.space, seed), setting.objectives)
        self._known: dict[str, Trial] = {}
        self._proposed = 0
        for trial, point in setting.past:
            self._known[trial.architecture.fingerprint] = trial
            self._proposed += bool(point)
            self._memory.add(point, trial)

    def propose(self) -> Proposal | None:
        """Return a point whose architecture is new and admitted, or None where the space holds no more.

        Raises:
            NoFeasibleArchitecture: neither the sampler nor thousands of random draws met the caps.
        """
        if self._proposed < self._spread:
            spread = first_new((self._first.point(self._proposed) for _ in range(PATIENCE)), self._consider)
            if spread is not None:
                return self._accepted(spread)
        for _ in range(PATIENCE):
            point, memory = self._memory.ask()
            proposal = self._consider(point, memory)
            if proposal is not None:
                return proposal
        return self._accepted(draw_at_random(self.space, self._random, self._consider, self._known))

    def see(self, trial: Trial, token: optuna.Trial | None) -> None:
        """Tell the sampler of a finished trial; a running one is not proposed again."""
        self._known[trial.architecture.fingerprint] = trial
        if token is None:
            return
        if trial.state == "running":
            self._proposed += 1
        else:
            self._memory.tell(token, trial)

    def _consider(self, point: Point, memory: optuna.Trial | None = None) -> Proposal | None:
        """Return the point's proposal, or None where it is refused or known; the sampler is told why."""
        admitted = self._setting.admitted(point)
        if admitted is None:
            if memory is not None:
                self._memory.refuse(memory)
            return None
        architecture, params = admitted
        known = self._known.get(architecture.fingerprint)
        if known is not None:
            if memory is not None:
                self._memory.tell(memory, known)
            return None
        return Proposal(point, architecture, params, memory)

    def _accepted(self, proposal: Proposal | None) -> Proposal | None:
        """Return a proposal that the sampler did not make so that it learns from it."""
        return proposal and replace(proposal, token=self._memory.accept(proposal.point))
