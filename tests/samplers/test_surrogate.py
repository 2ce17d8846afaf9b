"""The surrogate: its own arithmetic against GPyTorch's and BoTorch's, and what it predicts."""

import math
import subprocess
import sys
from dataclasses import replace

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


# -- what it predicts


def curved(x):
    return 0.6 + 0.2 * np.sin(3 * x[:, 0]) + 0.1 * x[:, 1]


@pytest.fixture(scope="module")
def data():
    """Points with a column in which all agree, and their scores: enough of them to tell that these have no noise."""
    x = np.random.default_rng(0).random((80, 3))
    x[:, 2] = 0.5
    return x, curved(x)


@pytest.fixture(scope="module")
def fitted(data):
    x, scores = data
    return Surrogate.fit(x, scores, np.zeros(len(x)))


def test_the_model_predicts_its_own_data_and_what_lies_between(data, fitted):
    x, scores = data
    mean, deviation = fitted.predict(x)
    assert mean == pytest.approx(scores, abs=0.01) and (deviation < 0.02).all()
    between = np.random.default_rng(1).random((200, 3))
    mean, deviation = fitted.predict(between)
    errors = np.abs(mean - curved(between))
    assert np.sqrt(np.mean(errors**2)) < 0.02 and np.mean(errors < 2 * deviation + 0.01) > 0.9


def test_a_column_in_which_all_agree_changes_nothing(fitted):
    x = np.random.default_rng(2).random((10, 3))
    other = x.copy()
    other[:, 2] = 7.0
    for one, two in zip(fitted.predict(x), fitted.predict(other), strict=True):
        assert one.tolist() == two.tolist()


def test_far_from_everything_the_doubt_is_greatest(data, fitted):
    far = np.full((1, 3), 50.0)
    assert fitted.predict(far)[1][0] > 5 * fitted.predict(data[0])[1].max()
    widest = fitted.warp.moments(np.array([fitted.level]), np.array([1.0]))
    assert [part[0] for part in fitted.predict(far)] == pytest.approx([part[0] for part in widest], rel=1e-3)


def test_predictions_do_not_depend_on_how_many_are_made_at_a_time(data, fitted, monkeypatch):
    monkeypatch.setattr("autopeft.samplers.surrogate.CHUNK", 7)
    mean, deviation = fitted.predict(data[0])
    alone = [fitted.predict(row[None]) for row in data[0]]
    assert mean == pytest.approx(np.concatenate([m for m, _ in alone]), abs=1e-9)
    assert deviation == pytest.approx(np.concatenate([d for _, d in alone]), abs=1e-6)
    assert [part.shape for part in fitted.predict(np.empty((0, 3)))] == [(0,), (0,)]


def test_scores_in_other_units_are_predicted_in_those(data):
    x, scores = data
    plain, scaled = Surrogate.fit(x, scores, np.zeros(len(x))), Surrogate.fit(x, 100 * scores - 7, np.zeros(len(x)))
    one, other = plain.predict(x), scaled.predict(x)
    assert other[0] == pytest.approx(100 * one[0] - 7, abs=0.2) and other[1] == pytest.approx(100 * one[1], abs=0.3)


def test_the_more_doubt_the_less_pull(data):
    x, scores = data
    pulls, doubts = [], (0.0, 0.1, 1.0)
    model = Surrogate.fit(x, scores, np.zeros(len(x)))
    for doubt in doubts:
        # The same process with one observation that is off, under more and more doubt.
        noise = model.noise.copy()
        noise[0] += (doubt / scores.std()) ** 2
        rest = model.rest.copy()
        rest[0] += 0.3 / scores.std()
        pulls.append(float(replace(model, rest=rest, noise=noise).predict(x[:1])[0][0] - scores[0]))
    assert pulls[0] > pulls[1] > pulls[2] > -0.02 and pulls[2] < 0.02
    # Where others are near, an observation that is off is taken for noise in any case; so it is the loneliest one.
    loneliest = int(np.argmax(np.sort(np.linalg.norm(x[:, None] - x, axis=2))[:, 1]))
    one = np.eye(len(x))[loneliest]
    fits = [Surrogate.fit(x, scores + 0.3 * one, doubt * one).predict(x[[loneliest]]) for doubt in (0.0, 1.0)]
    off = [float(mean[0] - scores[loneliest]) for mean, _ in fits]
    assert off[0] > off[1] + 0.02 and abs(off[1]) < 0.02


def test_the_noise_that_all_share_is_learned(data):
    x, scores = data
    rng = np.random.default_rng(3)
    x = rng.random((150, 2))
    noisy = curved(x) + 0.05 * rng.normal(size=150)
    model = Surrogate.fit(x, noisy, np.zeros(150))
    assert math.sqrt(float(model.noise.min())) * noisy.std() == pytest.approx(0.05, rel=0.3)
    mean, deviation = model.predict(x)
    assert np.sqrt(np.mean((mean - curved(x)) ** 2)) < 0.03 and deviation.max() < 0.05


def test_what_is_believed_leaves_the_mean_and_takes_the_doubt(fitted):
    x = np.array([[1.3, -0.2, 0.5], [0.2, 1.4, 0.5]])
    elsewhere = np.random.default_rng(4).random((20, 3))
    believing = fitted.believe(x)
    for rows in (x, elsewhere):
        before, after = fitted._rest(rows), believing._rest(rows)
        assert after[0] == pytest.approx(before[0], abs=1e-6)
        assert (after[1] <= before[1] + 1e-7).all()
    assert (believing.predict(x)[1] < 0.7 * fitted.predict(x)[1]).all()
    assert fitted.believe(np.empty((0, 3))) is fitted
