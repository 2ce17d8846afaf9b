"""What is confirmed: which trials are trained again in full, at which seeds, and in which order.

A proxy's score is noisy, and the best of many noisy scores are lucky ones, which keep better architectures off the
front of the proxies. So those that are nearest to it are trained in full too, once; further seeds are for what is then
on the front of the means, until everything on it has all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autopeft.answer import Answer
from autopeft.pareto import Objectives, cost_axis, front_of
from autopeft.trial import Trial

Run = tuple[Trial, int]


def candidates(trials: Sequence[Trial], runners_up: int, objectives: tuple[str, ...] = ()) -> list[Trial]:
    """Return the trials to confirm: the front of the proxies, every baseline, and of the others the nearest to it.

    How near a trial is, is told by how much higher a score it would need: that of the best of the front that needs no
    more, in parameters and in further objectives.

    Args:
        trials: of a search.
        runners_up: how many of the others at most.
        objectives: names of the measures that are minimised beside the parameters.
    """
    scored = [trial for trial in trials if trial.score is not None]
    points = [_point(trial, objectives) for trial in scored]
    on_front = front_of(points)
    ahead = [points[index] for index in on_front]
    lacks = {trial.number: _lack(point, ahead) for trial, point in zip(scored, points, strict=True)}
    sure = {trial.number for trial in scored if trial.name} | {scored[index].number for index in on_front}
    others = sorted((trial.number for trial in scored if trial.number not in sure), key=lambda number: lacks[number])
    chosen = sure.union(others[:runners_up])
    return [trial for trial in scored if trial.number in chosen]


def missing(chosen: Sequence[Trial], answer: Answer, seeds: int) -> list[Run]:
    """Return the trials and seeds that are still to be run, as far as can be told, in their order.

    First comes everything once, then the baselines at the other seeds, then what is on the front so far.

    Args:
        chosen: the trials to confirm.
        answer: of the search as it stands.
        seeds: of a confirmation.
    """
    there = {row.trial: row.run_seeds for row in (*answer.front, *answer.baselines, *answer.others)}
    on_front = {row.trial for row in answer.front}
    later = [trial for trial in chosen if trial.name]
    later += [trial for trial in chosen if not trial.name and trial.number in on_front]
    runs = [(trial, 0) for trial in chosen] + [(trial, seed) for seed in range(1, seeds) for trial in later]
    return [(trial, seed) for trial, seed in runs if seed not in there.get(trial.number, ())]


def expected_runs(trials: Sequence[Trial], seeds: int, runners_up: int, objectives: tuple[str, ...] = ()) -> int:
    """Return how many runs the confirmation takes where the front stays as the proxies have it."""
    sure = len(candidates(trials, 0, objectives))
    others = sum(trial.score is not None for trial in trials) - sure
    return seeds * sure + min(runners_up, others)


def _point(trial: Trial, objectives: tuple[str, ...]) -> Objectives:
    assert trial.score is not None, "only what was scored can be confirmed"
    return (cost_axis(trial.params), trial.score, *(trial.measures[name] for name in objectives))


def _lack(point: Objectives, on_front: Sequence[Objectives]) -> float:
    """Return how far a point's score is below the best of the front that needs no more."""
    cost, score, *further = point
    ahead = [
        other[1] - score
        for other in on_front
        if other[0] <= cost and all(a <= b for a, b in zip(other[2:], further, strict=True))
    ]
    return max(ahead, default=math.inf)  # only with NaN can a point have nothing ahead of it
