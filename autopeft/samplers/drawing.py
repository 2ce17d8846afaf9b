"""Points drawn until one is new and admitted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sized

from autopeft.errors import NoFeasibleArchitecture
from autopeft.samplers.base import Proposal
from autopeft.space import Point, SearchSpace

RANDOM_DRAWS = 2000

Consider = Callable[[Point], Proposal | None]


def first_new(points: Iterable[Point], consider: Consider) -> Proposal | None:
    """Return the proposal of the first of the points that is new and admitted, or None; later ones are not drawn."""
    return next((proposal for proposal in map(consider, points) if proposal is not None), None)


def draw_at_random(space: SearchSpace, rng: random.Random, consider: Consider, known: Sized) -> Proposal | None:
    """Return a random new point's proposal, or None where the space seems to hold no more.

    Args:
        space: to draw from.
        rng: of the draws.
        consider: returns a point's proposal, or None where it is refused or known.
        known: what was tried so far.

    Raises:
        NoFeasibleArchitecture: nothing was tried, and none of :data:`RANDOM_DRAWS` points meets the caps.
    """
    proposal = first_new((space.sample(rng)[0] for _ in range(RANDOM_DRAWS)), consider)
    if proposal is None and not known:
        raise NoFeasibleArchitecture(f"none of {RANDOM_DRAWS} random points of {space.name!r} meets the caps")
    return proposal
