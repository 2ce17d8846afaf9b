"""The surrogate's own arithmetic against GPyTorch's and BoTorch's."""

import math
import subprocess
import sys

import gpytorch
import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from scipy.optimize import approx_fprime, minimize

from autopeft.samplers import surrogate
from autopeft.samplers.surrogate import Posterior, Surrogate


class Level(gpytorch.means.Mean):
    """A level, and a share of what is expected, which is the last column."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.trust = torch.nn.Parameter(torch.full((), surrogate.TRUST, dtype=torch.float64))
        prior = gpytorch.priors.NormalPrior(surrogate.TRUST, surrogate.TRUST_DEVIATION)
        self.register_prior("trust_prior", prior, "trust")

    def forward(self, x):
        return self.level + self.trust * x[..., -1]


def observed(rows, columns, seed):
    """Features, quantiles, known variances and expected quantiles, where some features matter."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(rows, columns)).round(1)
    expected = x[:, 0] - x[:, 1]
    y = expected + np.sin(3 * x[:, -1]) + 0.1 * rng.standard_normal(rows)
    return x, y - y.mean(), rng.uniform(1e-6, 0.05, rows), expected


def peer(x, y, beyond, expected):
    """BoTorch's model of the same, not yet fitted, and what is maximised."""
    likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(torch.tensor(beyond), learn_additional_noise=True)
    prior = gpytorch.priors.LogNormalPrior(loc=surrogate.NOISE_LOCATION, scale=surrogate.NOISE_DEVIATION)
    likelihood.second_noise_covar.register_prior("noise_prior", prior, "noise")
    columns = x.shape[1]
    model = SingleTaskGP(
        torch.tensor(np.column_stack([x, expected])),
        torch.tensor(y)[:, None],
        torch.tensor(beyond)[:, None],
        likelihood=likelihood,
        covar_module=get_covar_module_with_dim_scaled_prior(
            ard_num_dims=columns, use_rbf_kernel=False, active_dims=range(columns)
        ),
        mean_module=Level(),
        outcome_transform=None,
    )
    return model, gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)


def value_of(model, mll):
    model.train()
    with torch.no_grad():
        return -mll(model(*model.train_inputs), model.train_targets).item()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (9, 5), (40, 12)])
def test_the_density_is_gpytorchs_wherever_it_is_looked_at(rows, columns):
    given = observed(rows, columns, seed=rows)
    posterior, (model, mll) = Posterior(*given), peer(*given)
    assert posterior(posterior.first)[0] == pytest.approx(value_of(model, mll), abs=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(5):
        vector = posterior.first + rng.normal(scale=0.5, size=len(posterior.first))
        scales, noise, level, trust = posterior.read(vector)
        model.covar_module.lengthscale = torch.tensor(scales)
        model.likelihood.second_noise_covar.noise = noise
        model.mean_module.level.data.fill_(level)
        model.mean_module.trust.data.fill_(trust)
        assert posterior(vector)[0] == pytest.approx(value_of(model, mll), abs=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (9, 5), (40, 12)])
def test_the_gradient_is_that_of_differences(rows, columns):
    posterior = Posterior(*observed(rows, columns, seed=rows))
    vector = posterior.first + np.random.default_rng(1).normal(scale=0.3, size=len(posterior.first))
    differences = approx_fprime(vector, lambda at: posterior(at)[0], 1e-7)
    assert posterior(vector)[1] == pytest.approx(differences, abs=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rows", "columns"), [(5, 4), (15, 8), (60, 20)])
def test_what_is_found_is_as_likely_as_what_botorch_finds(rows, columns):
    given = observed(rows, columns, seed=rows)
    posterior, (model, mll) = Posterior(*given), peer(*given)
    found = minimize(posterior, posterior.first, jac=True, method="L-BFGS-B", bounds=posterior.bounds)
    fit_gpytorch_mll(mll)
    assert found.fun <= value_of(model, mll) + 1e-4


def test_one_score_that_nothing_tells_apart_is_no_fault():
    x = np.zeros((3, 4))
    model = Surrogate.fit(x, np.array([0.1, 0.2, 0.3]), np.zeros(3))
    mean, deviation = model.predict(x)
    assert np.isfinite(mean).all() and np.isfinite(deviation).all()


def test_the_scales_are_read_as_they_are_bounded():
    posterior = Posterior(*observed(4, 3, seed=0))
    lowest = np.array([low if low is not None else 0.0 for low, _ in posterior.bounds])
    assert posterior.read(lowest)[0] == pytest.approx([surrogate.LEAST_SCALE] * 3)
    assert math.isfinite(posterior(lowest)[0])


def test_the_default_sampler_comes_without_what_it_is_held_against():
    code = "import sys, autopeft.samplers.known_cost; assert not {'botorch', 'gpytorch', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
