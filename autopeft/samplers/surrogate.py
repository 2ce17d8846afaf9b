"""A Gaussian process of the score: hyperparameters by BoTorch, predictions at many points at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.means import Mean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior, NormalPrior
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from autopeft.warp import Floats, Warp

# Rows predicted at a time: bounds the memory of the products.
CHUNK = 16384
JITTER = 1e-6
# How far an expectation is followed before a trial is seen, and the deviation of that.
TRUST, TRUST_DEVIATION = 0.8, 0.25

Expect = Callable[[Floats], Floats]


def nothing_expected(x: Floats) -> Floats:
    """Return an expectation of 0 for every row."""
    return np.zeros(len(x))


class _Expected(Mean):  # type: ignore[misc]  # gpytorch is untyped
    """A level, and a learned share of what is expected, which is the last column."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.trust = torch.nn.Parameter(torch.full((), TRUST, dtype=torch.float64))
        self.register_prior("trust_prior", NormalPrior(TRUST, TRUST_DEVIATION), "trust")

    def forward(self, x: Tensor) -> Tensor:
        return self.level + self.trust * x[..., -1]


@dataclass(frozen=True)
class Surrogate:
    """A fitted process of warped scores: Matern 5/2 with a length scale a feature, and BoTorch's priors for many.

    Attributes:
        columns: features that differ among what is known; the others are left out.
        warp: between scores and what is modelled.
        kernel: of unit variance.
        expect: from features to the quantiles expected of them.
        level: mean far from everything known, where 0 is expected.
        trust: share of the expectation that is followed.
        x: features of what is known, of shape ``(rows, columns)``.
        rest: quantiles of what is known, less the mean there, of shape ``(rows,)``.
        noise: their variances around the architectures' own, of shape ``(rows,)``.
    """

    columns: np.ndarray
    warp: Warp
    kernel: Kernel
    expect: Expect
    level: float
    trust: float
    x: Tensor
    rest: Tensor
    noise: Tensor

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
        inputs, y = torch.from_numpy(x[:, columns]), torch.from_numpy(warp.quantiles(scores))
        spread = (warp.quantiles(scores + doubts) - warp.quantiles(scores - doubts)) / 2
        beyond = torch.from_numpy(np.maximum(spread**2, JITTER))
        likelihood = FixedNoiseGaussianLikelihood(beyond, learn_additional_noise=True)
        shared = likelihood.second_noise_covar
        shared.register_prior("noise_prior", LogNormalPrior(loc=-4.0, scale=1.0), "noise")
        kernel = get_covar_module_with_dim_scaled_prior(
            ard_num_dims=len(columns), use_rbf_kernel=False, active_dims=range(len(columns))
        )
        mean = _Expected()
        model = SingleTaskGP(
            torch.cat([inputs, torch.from_numpy(expect(x))[:, None]], dim=1),
            y[:, None],
            beyond[:, None],
            likelihood=likelihood,
            covar_module=kernel,
            mean_module=mean,
            outcome_transform=None,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BotorchWarning)
            warnings.simplefilter("ignore", NumericalWarning)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        noise = beyond + float(shared.noise.item())
        level, trust = float(mean.level.item()), float(mean.trust.item())
        rest = y - level - trust * torch.from_numpy(expect(x))
        return cls(columns, warp, kernel, expect, level, trust, inputs, rest, noise)

    def believe(self, x: Floats) -> Surrogate:
        """Return the process that takes its own predictions at these points for observed (Kriging believer)."""
        if not len(x):
            return self
        rest, _ = self._rest(x)
        return replace(
            self,
            x=torch.cat([self.x, torch.from_numpy(x[:, self.columns])]),
            rest=torch.cat([self.rest, torch.from_numpy(rest)]),
            noise=torch.cat([self.noise, torch.full((len(x),), float(self.noise.min()), dtype=self.noise.dtype)]),
        )

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the architectures' own scores, without a run's noise, of shape ``(rows,)``.

        A feature in which all that is known agrees is taken to change nothing.
        """
        rest, deviation = self._rest(x)
        return self.warp.moments(self.level + self.trust * self.expect(x) + rest, deviation)

    def _rest(self, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the quantiles, less the mean that is expected."""
        means, deviations = [np.empty(0)], [np.empty(0)]
        root, weights = self._solution
        with torch.no_grad():
            for chunk in torch.split(torch.from_numpy(x[:, self.columns]), CHUNK):
                across = self.kernel(chunk, self.x).to_dense()
                means.append((across @ weights).numpy())
                explained = torch.linalg.solve_triangular(root, across.T, upper=False).square().sum(0)
                deviations.append((1.0 - explained).clamp_min(0.0).sqrt().numpy())
        return np.concatenate(means), np.concatenate(deviations)

    @cached_property
    def _solution(self) -> tuple[Tensor, Tensor]:
        """The Cholesky root of the covariance, and what it makes of the observations."""
        with torch.no_grad():
            covariance = self.kernel(self.x, self.x).to_dense() + torch.diag(self.noise)
            root = torch.linalg.cholesky(covariance)
            return root, torch.cholesky_solve(self.rest[:, None], root)[:, 0]
