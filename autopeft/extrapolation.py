"""What a run that was stopped at a rung would have come to, learned from the runs that went on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autopeft.pareto import cost_axis
from autopeft.trial import Trial
from autopeft.warp import Warp

# Fewest runs to learn from.
LEAST = 6
# How much the slopes are held to none, in runs' worth of evidence.
RIDGE = 1.0
# A final score rises with the early one at least so much, in quantiles: else there would be no least score.
LEAST_SLOPE = 0.1


@dataclass(frozen=True)
class Extrapolation:
    """From the rank of the score at a rung to that of the final one: a line, corrected for the cost.

    Large modules learn more after the rung than small ones. Scores run into a ceiling, ranks do not.

    Attributes:
        early: between scores at the rung and their quantiles.
        late: between final scores and theirs.
        slope: of the final quantile by the early one.
        by_cost: of the final quantile by the cost; ``cost`` is the runs' mean.
        deviation: of the final quantile around that.
    """

    early: Warp
    late: Warp
    slope: float
    by_cost: float
    cost: float
    deviation: float

    @classmethod
    def fit(cls, trials: Sequence[Trial], share: float) -> Extrapolation | None:
        """Learn from the trials that were trained to their end; None where they are too few, or all alike."""
        seen = [
            (at_rung, trial.score, cost_axis(trial.params))
            for trial in trials
            if trial.score is not None and (at_rung := trial.score_at(share)) is not None
        ]
        scores = np.array(seen).reshape(len(seen), 3)
        if len(seen) < LEAST or (np.ptp(scores[:, :2], axis=0) == 0).any():
            return None
        early, late, costs = Warp(scores[:, 0]), Warp(scores[:, 1]), scores[:, 2]
        cost, wide = float(costs.mean()), max(float(costs.std()), 1e-9)
        x = np.column_stack([early.quantiles(scores[:, 0]), (costs - cost) / wide])
        y = late.quantiles(scores[:, 1])
        slope, by_cost = np.linalg.solve(x.T @ x + RIDGE * np.eye(2), x.T @ y)
        slope = max(float(slope), LEAST_SLOPE)
        residuals = y - x @ (slope, by_cost)
        deviation = math.sqrt(float(residuals @ residuals) / (len(seen) - 2) * (1 + 2 / len(seen)))
        return cls(early, late, slope, float(by_cost) / wide, cost, deviation)

    def final(self, early: float, cost: float) -> tuple[float, float]:
        """Return mean and deviation of the final score."""
        quantile = self.slope * self.early.quantiles(np.array([early])) + self.by_cost * (cost - self.cost)
        mean, deviation = self.late.moments(quantile, np.array([self.deviation]))
        return float(mean[0]), float(deviation[0])

    def least(self, final: float, cost: float, hope: float) -> float:
        """Return the least score at the rung from which a final score is within so many deviations' reach."""
        wanted = self.late.quantiles(np.array([final])) - hope * self.deviation - self.by_cost * (cost - self.cost)
        return float(self.early.scores(wanted / self.slope)[0])
