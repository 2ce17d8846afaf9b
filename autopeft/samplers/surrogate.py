"""A Gaussian process of the score, and what architectures nobody has trained come to by it.

The kernel is Matern 5/2 with a length scale a feature. Length scales, noise, level and how far an expectation is
followed are those of the largest posterior density, found by L-BFGS-B; the priors of the length scales are those for
many features (Hvarfner et al. 2024, arXiv 2402.02229), and that of the noise is what recorded proxies have. A search
fits it anew before every trial while a worker waits, so the density and its gradient are written out here; the tests
hold them against GPyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from autopeft.warp import Floats, Warp

# Rows predicted at a time: bounds the memory of the products.
CHUNK = 16384
JITTER = 1e-6
# How far an expectation is followed before a trial is seen, and the deviation of that.
TRUST, TRUST_DEVIATION = 0.8, 0.25
# Of the log-normal prior of a length scale; its location grows with the number of features.
SCALE_LOCATION, SCALE_DEVIATION, LEAST_SCALE = math.sqrt(2), math.sqrt(3), 0.025
# Of the log-normal prior of the noise. Its variance in the recorded tables, where runs of one architecture differ in
# their seed, is 0.1 and 0.2 in the median, 0.2 and 0.5 on average. A prior that allows for none finds now none, now
# little else, as a few dozen scores fit both.
NOISE_LOCATION, NOISE_DEVIATION, LEAST_NOISE = -2.0, 0.7, 1e-4
# Where the search for it begins.
FIRST_NOISE = math.log(2)
# Bounds of logarithms: what a line search may try.
FARTHEST = 15.0

Expect = Callable[[Floats], Floats]


def nothing_expected(x: Floats) -> Floats:
    """Return an expectation of 0 for every row."""
    return np.zeros(len(x))


@dataclass(frozen=True)
class Surrogate:
    """A fitted process of warped scores.

    Attributes:
        columns: features that differ among what is known; the others are left out.
        warp: between scores and what is modelled.
        scales: length scales of the columns, of shape ``(columns,)``; the kernel's variance is 1.
        expect: from features to the quantiles expected of them.
        level: mean far from everything known, where 0 is expected.
        trust: share of the expectation that is followed.
        x: features of what is known over their length scales, of shape ``(rows, columns)``.
        rest: quantiles of what is known, less the mean there, of shape ``(rows,)``.
        noise: their variances around the architectures' own, of shape ``(rows,)``.
    """

    columns: np.ndarray
    warp: Warp
    scales: Floats
    expect: Expect
    level: float
    trust: float
    x: Floats
    rest: Floats
    noise: Floats

    @classmethod
    def fit(cls, x: Floats, scores: Floats, doubts: Floats, expect: Expect = nothing_expected) -> Surrogate:
        """Fit to observations.

        Args:
            x: features, of shape ``(rows, features)``.
            scores: of shape ``(rows,)``; they differ.
            doubts: deviations beyond the noise that all have, which is learned, of shape ``(rows,)``.
            expect: from features to the quantiles expected of them; the observations say how far that is right.
        """
        columns = np.flatnonzero(np.ptp(x, axis=0) > 0)
        warp = Warp(scores)
        y, expected = warp.quantiles(scores), expect(x)
        spread = (warp.quantiles(scores + doubts) - warp.quantiles(scores - doubts)) / 2
        beyond = np.maximum(spread**2, JITTER)
        posterior = Posterior(x[:, columns], y, beyond, expected)
        found = minimize(posterior, posterior.first, jac=True, method="L-BFGS-B", bounds=posterior.bounds)
        scales, noise, level, trust = posterior.read(found.x)
        rest = y - level - trust * expected
        return cls(columns, warp, scales, expect, level, trust, x[:, columns] / scales, rest, beyond + noise)

    def believe(self, x: Floats) -> Surrogate:
        """Return the process that takes its own predictions at these points for observed (Kriging believer)."""
        if not len(x):
            return self
        rest, _ = self._rest(x)
        return replace(
            self,
            x=np.vstack([self.x, x[:, self.columns] / self.scales]),
            rest=np.concatenate([self.rest, rest]),
            noise=np.concatenate([self.noise, np.full(len(x), self.noise.min())]),
        )

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the architectures' own scores, without a run's noise, of shape ``(rows,)``.

        A feature in which all that is known agrees is taken to change nothing.
        """
        rest, deviation = self._rest(x)
        return self.warp.moments(self.level + self.trust * self.expect(x) + rest, deviation)

    def _rest(self, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the quantiles, less the mean that is expected."""
        mean, explained = np.empty(len(x)), np.empty(len(x))
        root, weights = self._solution
        for start in range(0, len(x), CHUNK):
            rows = slice(start, start + CHUNK)
            across = _matern(_distances(x[rows, self.columns] / self.scales, self.x))
            mean[rows] = across @ weights
            explained[rows] = np.square(solve_triangular(root, across.T, lower=True)).sum(axis=0)
        return mean, np.sqrt(np.maximum(1.0 - explained, 0.0))

    @cached_property
    def _solution(self) -> tuple[Floats, Floats]:
        """The Cholesky root of the covariance, and what it makes of the observations."""
        return _solve(_distances(self.x, self.x), self.noise, self.rest)


class Posterior:
    """How unlikely hyperparameters are: less the log of their posterior density, over the number of rows.

    They are a vector: logarithms of the length scales and of the noise above the least, level, trust.

    Args:
        x: features, of shape ``(rows, columns)``.
        y: quantiles, of shape ``(rows,)``.
        beyond: known variances beyond the noise, of shape ``(rows,)``.
        expected: quantiles expected, of shape ``(rows,)``.

    Attributes:
        first: where the search for the best begins: the modes of the length scales' priors.
        bounds: of every number.
    """

    def __init__(self, x: Floats, y: Floats, beyond: Floats, expected: Floats) -> None:
        self._x, self._y, self._beyond, self._expected = x, y, beyond, expected
        columns = x.shape[1]
        self._location = SCALE_LOCATION + math.log(max(columns, 1)) / 2
        mode = self._location - SCALE_DEVIATION**2
        self.first = np.array([mode] * columns + [math.log(FIRST_NOISE), 0.0, TRUST])
        scale, other = (math.log(LEAST_SCALE), FARTHEST), (None, None)
        self.bounds = [scale] * columns + [(-FARTHEST, FARTHEST), other, other]

    def read(self, vector: Floats) -> tuple[Floats, float, float, float]:
        """Return the length scales, the noise, the level and the trust."""
        *logs, noise, level, trust = vector
        return np.exp(logs), LEAST_NOISE + math.exp(noise), float(level), float(trust)

    def __call__(self, vector: Floats) -> tuple[float, Floats]:
        """Return the value and its gradient."""
        scales, noise, level, trust = self.read(vector)
        x, rest, rows = self._x / scales, self._y - level - trust * self._expected, len(self._y)
        distance = _distances(x, x)
        root, weights = _solve(distance, self._beyond + noise, rest)
        likelihood = -(rest @ weights + rows * math.log(2 * math.pi)) / 2 - np.log(np.diag(root)).sum()
        # The gradient in the covariance; with how the kernel falls along a feature, that in the length scales.
        by_covariance = (np.outer(weights, weights) - cho_solve((root, True), np.eye(rows))) / 2
        pull = by_covariance * _fall(distance)
        by_scales = 2 * (pull.sum(axis=1) @ x**2 - np.sum((pull @ x) * x, axis=0))
        by_noise = np.trace(by_covariance)

        scales_prior, by_scales_prior = _log_normal(np.log(scales), self._location, SCALE_DEVIATION)
        noise_prior, by_noise_prior = _log_normal(np.log([noise]), NOISE_LOCATION, NOISE_DEVIATION)
        trust_prior, by_trust_prior = _normal(np.array([trust]), TRUST, TRUST_DEVIATION)
        gradient = [
            *(by_scales + by_scales_prior),
            (by_noise + by_noise_prior[0] / noise) * (noise - LEAST_NOISE),
            weights.sum(),
            weights @ self._expected + by_trust_prior[0],
        ]
        value = likelihood + scales_prior.sum() + noise_prior.sum() + trust_prior.sum()
        return -float(value) / rows, -np.array(gradient) / rows


def _log_normal(log: Floats, location: float, deviation: float) -> tuple[Floats, Floats]:
    """Return the log density at numbers whose logarithms are given, and its gradient in these."""
    density, gradient = _normal(log, location, deviation)
    return density - log, gradient - 1


def _normal(x: Floats, location: float, deviation: float) -> tuple[Floats, Floats]:
    """Return the log density, and its gradient."""
    away = (x - location) / deviation
    return -(away**2) / 2 - math.log(deviation * math.sqrt(2 * math.pi)), -away / deviation


def _solve(distance: Floats, noise: Floats, rest: Floats) -> tuple[Floats, Floats]:
    """Return the Cholesky root of the covariance of rows at these distances, and what it makes of observations."""
    root = cholesky(_matern(distance) + np.diag(noise), lower=True)
    return root, cho_solve((root, True), rest)


def _distances(x: Floats, others: Floats) -> Floats:
    """Return the distances of rows, of shape ``(rows, others)``."""
    squared = np.sum(x**2, axis=1)[:, None] + np.sum(others**2, axis=1) - 2 * (x @ others.T)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


def _matern(distance: Floats) -> Floats:
    """Return the Matern 5/2 kernel at distances over the length scales."""
    far = math.sqrt(5) * distance
    return np.asarray((1 + far + far**2 / 3) * np.exp(-far))


def _fall(distance: Floats) -> Floats:
    """Return the kernel's gradient in the logarithm of a length scale, over the squared distance along its feature."""
    far = math.sqrt(5) * distance
    return np.asarray(5 / 3 * (1 + far) * np.exp(-far))
