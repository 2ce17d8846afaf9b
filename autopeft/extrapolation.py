"""What a run that was stopped at a rung would have come to, learned from the runs that went on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autopeft.pareto import cost_axis
from autopeft.trial import Trial

# Fewest runs to learn from.
LEAST = 6
# How much a slope is held to none, in runs' worth of evidence.
RIDGE = 1.0


@dataclass(frozen=True)
class Extrapolation:
    """From the score at a rung to the final one: the mean gain, corrected for the score itself and for the cost.

    Large modules learn more after the rung than small ones, and high scores gain less than low ones.

    Attributes:
        center: mean (score at the rung, cost) of the runs learned from.
        gain: mean of what they gained.
        slopes: of the gain, by score at the rung and by cost.
        deviation: of what a run gains around that.
    """

    center: tuple[float, float]
    gain: float
    slopes: tuple[float, float]
    deviation: float

    @classmethod
    def fit(cls, trials: Sequence[Trial], share: float) -> Extrapolation | None:
        """Learn from the trials that were trained to their end; None where they are too few."""
        seen = [
            (early, cost_axis(trial.params), trial.score)
            for trial in trials
            if trial.score is not None and (early := trial.score_at(share)) is not None
        ]
        if len(seen) < LEAST:
            return None
        rows = np.array(seen)
        x, gains = rows[:, :2], rows[:, 2] - rows[:, 0]
        center, scale = x.mean(0), np.maximum(x.std(0), 1e-9)
        z = (x - center) / scale
        slopes = np.linalg.solve(z.T @ z + RIDGE * np.eye(2), z.T @ (gains - gains.mean()))
        residuals = gains - gains.mean() - z @ slopes
        deviation = math.sqrt(float(residuals @ residuals) / (len(seen) - 3) * (1 + 3 / len(seen)))
        # Held to a final score that rises with the early one: else there would be no least score.
        by_score = max(float(slopes[0] / scale[0]), -0.9)
        return cls(
            (float(center[0]), float(center[1])),
            float(gains.mean()),
            (by_score, float(slopes[1] / scale[1])),
            deviation,
        )

    def final(self, early: float, cost: float) -> float:
        """Return the expected final score."""
        return early + self.gain + self.slopes[0] * (early - self.center[0]) + self._by_cost(cost)

    def least(self, final: float, cost: float, hope: float) -> float:
        """Return the least score at the rung from which a final score is within so many deviations' reach."""
        wanted = final - hope * self.deviation - self.gain - self._by_cost(cost)
        return (wanted + self.slopes[0] * self.center[0]) / (1 + self.slopes[0])

    def _by_cost(self, cost: float) -> float:
        return self.slopes[1] * (cost - self.center[1])
