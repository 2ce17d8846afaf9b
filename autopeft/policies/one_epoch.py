"""After one epoch, only what is on the front of that moment goes on."""

from __future__ import annotations

from collections.abc import Sequence

from autopeft.messages import Bar, Fidelity
from autopeft.policies.base import Policy
from autopeft.trial import Trial


def _bars(params: int, fidelity: Fidelity, past: Sequence[Trial]) -> tuple[Bar, ...]:
    found = []
    for share in _rungs(fidelity):
        there = [trial.score_at(share) for trial in past if trial.params <= params]
        scores = [score for score in there if score is not None]
        found += [Bar(share=share, score=max(scores))] if scores else []
    return tuple(found)


def _rungs(fidelity: Fidelity) -> tuple[float, ...]:
    return (1 / fidelity.epochs,) if fidelity.epochs > 1 else ()


POLICY = Policy(
    summary="after one epoch, only what no cheaper trial beats there goes on",
    source="Egele et al. 2023, arXiv 2307.15422, with Pareto dominance in place of one score",
    bars=_bars,
    rungs=_rungs,
)
