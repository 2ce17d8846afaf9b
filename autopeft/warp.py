"""Scores as ranks: what models of scores are fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class Warp:
    """A normal copula: scores to the normal quantiles of their ranks, and back; linear in between and beyond.

    Scores bunch below what a task allows, and some runs learn nothing. As ranks they are what a Gaussian process takes
    them for.

    Args:
        scores: of shape ``(rows,)``; two of them differ.
    """

    def __init__(self, scores: Floats) -> None:
        self._scores, counts = np.unique(scores, return_counts=True)
        middle = np.cumsum(counts) - counts / 2
        self._quantiles = np.asarray(ndtri(middle / len(scores)))
        # Beyond the ends, as steep as over the half of the scores that is next.
        half = max(1, len(self._scores) // 2)
        rise, run = self._scores, self._quantiles
        self._slopes = (
            (rise[half] - rise[0]) / (run[half] - run[0]),
            (rise[-1] - rise[-1 - half]) / (run[-1] - run[-1 - half]),
        )

    def quantiles(self, scores: Floats) -> Floats:
        """Return the quantiles of scores."""
        inside = np.interp(scores, self._scores, self._quantiles)
        low, high = scores - self._scores[0], scores - self._scores[-1]
        return np.asarray(inside + np.minimum(low, 0) / self._slopes[0] + np.maximum(high, 0) / self._slopes[1])

    def scores(self, quantiles: Floats) -> Floats:
        """Return the scores of quantiles."""
        inside = np.interp(quantiles, self._quantiles, self._scores)
        low, high = quantiles - self._quantiles[0], quantiles - self._quantiles[-1]
        return np.asarray(inside + np.minimum(low, 0) * self._slopes[0] + np.maximum(high, 0) * self._slopes[1])

    def moments(self, mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the scores whose quantiles have these, by Gauss-Hermite quadrature."""
        scores = self.scores(mean[:, None] + deviation[:, None] * _NODES)
        center = scores @ _WEIGHTS
        return center, np.sqrt(np.maximum((scores - center[:, None]) ** 2 @ _WEIGHTS, 0.0))
