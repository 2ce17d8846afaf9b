"""A trial goes on while what it may still come to, seen with hope, is above the front at its own cost."""

from __future__ import annotations

from collections.abc import Sequence

from autopeft.extrapolation import Extrapolation
from autopeft.messages import Bar, Fidelity
from autopeft.pareto import cost_axis
from autopeft.policies.base import Policy
from autopeft.trial import Trial

# Deviations of the extrapolation by which a trial may still exceed what is expected of it.
HOPE = 1.0
# So many trials must have reached a level for it to be the front's: the best of many noisy runs was lucky.
REACHED = 3


def _bars(params: int, fidelity: Fidelity, past: Sequence[Trial]) -> tuple[Bar, ...]:
    finals = sorted(trial.score for trial in past if trial.score is not None and trial.params <= params)
    if len(finals) < REACHED:
        return ()
    bars = []
    for share in fidelity.rungs:
        extrapolation = Extrapolation.fit(past, share)
        if extrapolation is not None:
            bars.append(Bar(share=share, score=extrapolation.least(finals[-REACHED], cost_axis(params), HOPE)))
    return tuple(bars)


POLICY = Policy(
    summary="a trial goes on while its optimistic final score is above the front at its own cost",
    source="AutoPEFT",
    bars=_bars,
)
