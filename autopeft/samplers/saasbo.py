"""SAASBO: AutoPEFT's own search (Zhou et al. 2024, TACL 12:525-542, arXiv 2301.12132).

The first points are random. From then on each objective, few parameters and a high score, has a fully Bayesian
Gaussian process with the sparse SAAS prior, fitted by NUTS, of the point's own dimensions; the targets are passed
through a normal copula. The next point is the best that local searches around the front find for the noisy expected
hypervolume improvement (qNEHVI). Here that is BoTorch's logarithm of it: the same best point, without the plateaus at
zero on which a local search stands still.

Unlike in the published code, points come one by one, and what still runs is pending instead of a batch being waited
for. The reference point is inferred from the front, as that code does where none is given. A step of the local search
that is refused, known or looked at already is not evaluated. The acquisition takes 32 draws for each of the 16 samples
of NUTS instead of BoTorch's 128, in less than half the time.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.special import ndtri

from autopeft.architecture import Scalar
from autopeft.errors import Problem
from autopeft.pareto import non_dominated
from autopeft.samplers.base import Proposal, Sampler, Setting
from autopeft.samplers.drawing import draw_at_random
from autopeft.space import Choice, Dimension, Integers, Point, Range
from autopeft.trial import Trial
from autopeft.warp import Floats

# Random first points: half of the trials up to the published 100, and the published code's default where time decides.
MOST_FIRST, USUAL_FIRST = 100, 20
# NUTS as published: steps of warm-up, samples, and every how manieth of them is kept.
WARMUP, SAMPLES, THINNING = 128, 64, 4
ATTEMPTS = 3
# The local search as published: how many at once, and how many points they look at together.
RESTARTS, EVALUATIONS = 10, 2000
# Deviation of a step along a numeric dimension, as a share of its range.
STRIDE = 0.2
# Draws of the objectives for the acquisition, for each sample of NUTS.
DRAWS = 32
# Quantiles of the copula end here: the normal distribution's are infinite.
LEAST_QUANTILE = 1e-4
# Points whose improvement is computed at a time: bounds the memory.
CHUNK = 16
PATIENCE = 100

Gain = Callable[[Floats], Floats]


class Saasbo:
    """The chooser of one search."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        # A resumed sampler has lost its random state: it goes on from a seed of its own, not from its start.
        self._random = random.Random(setting.seed + 1_000_003 * len(setting.past))
        self._first = USUAL_FIRST if setting.trials is None else min(setting.trials // 2, MOST_FIRST)
        self._known: dict[str, Trial] = {}
        self._points: dict[str, Point] = {}
        for trial, point in setting.past:
            self.see(trial, point or None)

    def propose(self) -> Proposal | None:
        """Return a new point, or None where the space holds no more.

        Raises:
            NoFeasibleArchitecture: nothing that was looked at meets the caps.
        """
        tried = [self._known[fingerprint] for fingerprint in self._points]
        running = [trial for trial in tried if trial.state == "running"]
        # Failed and stopped points count as tried: a policy that stops most must not keep the search random.
        proposal = self._best(tried, running) if len(tried) - len(running) >= self._first else None
        return proposal or self._any()

    def see(self, trial: Trial, token: Point | None) -> None:
        """Take note of a trial; its token is its point."""
        self._known[trial.architecture.fingerprint] = trial
        if token is not None:
            self._points[trial.architecture.fingerprint] = token

    def _best(self, tried: Sequence[Trial], running: Sequence[Trial]) -> Proposal | None:
        """Return the new point of the largest expected improvement that is found; None where nothing can be modelled.

        Processes that cannot be fitted, or whose covariance has no root, are fitted again from another start.
        """
        seen = [trial for trial in tried if trial.score is not None]
        if len(seen) < 2:
            return None
        objectives = [(-trial.params, trial.score) for trial in seen]
        y = copula(np.array(objectives, dtype=float))
        front = non_dominated([(-few, score) for few, score in y.tolist()])
        x, pending = self._rows(map(self._point, seen)), self._rows(map(self._point, running))
        error: Exception | None = None
        for _ in range(ATTEMPTS):
            seed = self._random.randrange(2**31)
            try:
                with _isolated(seed):
                    return self._climb(_gain(x, y, pending, front, seed), [self._point(seen[row]) for row in front])
            except (RuntimeError, ValueError) as caught:  # what JAX, NumPyro, PyTorch and BoTorch raise of numbers
                error = caught
        logging.getLogger(__name__).warning("no model of %d scores, a random point instead: %s", len(seen), error)
        return None

    def _climb(self, gain: Gain, front: Sequence[Point]) -> Proposal | None:
        """Return the best point that local searches from around the front find; None where none is new and admitted.

        Each goes to the best of as many random neighbours as there are dimensions, if that is better.
        """
        looked: set[str] = set()
        tops = self._starts(front, looked)
        if not tops:
            return None
        heights = gain(self._rows(top.point for top in tops))
        left = EVALUATIONS
        while left > 0:
            places = [place for place in range(len(tops)) for _ in self._dimensions]
            tried = [(place, self._look(self._neighbour(tops[place].point), looked)) for place in places]
            steps = [(place, step) for place, step in tried if step is not None][:left]
            if not steps:
                break
            for (place, step), height in zip(steps, gain(self._rows(step.point for _, step in steps)), strict=True):
                if height > heights[place]:
                    tops[place], heights[place] = step, height
            left -= len(steps)
        return tops[int(np.argmax(heights))]

    def _starts(self, front: Sequence[Point], looked: set[str]) -> list[Proposal]:
        """Return neighbours of the front, and random points where those are too few."""
        starts: list[Proposal] = []
        for attempt in range(2 * PATIENCE):
            if len(starts) == RESTARTS:
                break
            near = attempt < PATIENCE
            point = self._neighbour(self._random.choice(front)) if near else self._sample()
            start = self._look(point, looked)
            if start is not None:
                starts.append(start)
        return starts

    def _neighbour(self, point: Point) -> Point:
        """Return the point, changed in one random dimension."""
        dimension = self._random.choice(self._dimensions)
        return {**point, dimension.name: _move(dimension, point[dimension.name], self._random)}

    def _any(self) -> Proposal | None:
        return draw_at_random(self._setting.space, self._random, self._consider, self._known)

    def _sample(self) -> Point:
        return self._setting.space.sample(self._random)[0]

    def _look(self, point: Point, looked: set[str]) -> Proposal | None:
        """Return the point's proposal, or None where it is refused, known or looked at already."""
        proposal = self._consider(point)
        if proposal is None or proposal.architecture.fingerprint in looked:
            return None
        looked.add(proposal.architecture.fingerprint)
        return proposal

    def _consider(self, point: Point) -> Proposal | None:
        """Return the point's proposal, or None where it is refused or known."""
        admitted = self._setting.admitted(point)
        if admitted is None or admitted[0].fingerprint in self._known:
            return None
        return Proposal(point, *admitted, token=point)

    @property
    def _dimensions(self) -> tuple[Dimension, ...]:
        return self._setting.space.dimensions

    def _point(self, trial: Trial) -> Point:
        return self._points[trial.architecture.fingerprint]

    def _rows(self, points: Iterable[Point]) -> Floats:
        return np.array([[c for d in self._dimensions for c in columns(d, point[d.name])] for point in points])


def copula(values: Floats) -> Floats:
    """Return the normal quantiles of each column's empirical distribution, of shape ``(rows, columns)``."""
    share = (values[None] <= values[:, None]).mean(axis=1)
    return np.asarray(ndtri(np.clip(share, LEAST_QUANTILE, 1 - LEAST_QUANTILE)))


def columns(dimension: Dimension, value: Scalar) -> list[float]:
    """Return what the processes see of a value, all within [0, 1].

    A number or a value on a scale is its position between the ends, of the logarithm where the dimension is drawn on
    it; one of two is 0 or 1; of more that have no order each has a column of its own (one-hot).
    """
    if isinstance(dimension, Choice) and not dimension.ordered and len(dimension.choices) > 2:
        return [float(value == choice) for choice in dimension.choices]
    if isinstance(dimension, Choice):
        return [dimension.choices.index(value) / (len(dimension.choices) - 1)]
    low, high, place = _scaled(dimension, dimension.low, dimension.high, value)
    return [(place - low) / (high - low)]


def _move(dimension: Dimension, value: Scalar, rng: random.Random) -> Scalar:
    """Return another of the choices, or a number near the value."""
    if isinstance(dimension, Choice):
        return rng.choice([choice for choice in dimension.choices if choice != value])
    low, high, place = _scaled(dimension, dimension.low, dimension.high, value)
    moved = min(max(place + rng.gauss(0.0, STRIDE) * (high - low), low), high)
    number = math.exp(moved) if _is_logarithmic(dimension) else moved
    within = min(max(number, dimension.low), dimension.high)  # what rounding put outside
    return round(within) if isinstance(dimension, Integers) else within


def _scaled(dimension: Integers | Range, *values: Scalar) -> list[float]:
    numbers = [float(value) for value in values]
    return [math.log(number) for number in numbers] if _is_logarithmic(dimension) else numbers


def _is_logarithmic(dimension: Integers | Range) -> bool:
    return isinstance(dimension, Integers) or dimension.log


def _gain(x: Floats, y: Floats, pending: Floats, front: Sequence[int], seed: int) -> Gain:
    """Return the logarithm of the expected improvement by each of some rows, by processes fitted to what is known.

    Args:
        x: rows of what is known, of shape ``(rows, columns)``.
        y: their objectives, to be maximised, of shape ``(rows, 2)``.
        pending: rows of what runs, of shape ``(running, columns)``, or empty.
        front: numbers of the rows that no other dominates.
        seed: of NUTS and of the draws.

    Raises:
        RuntimeError: NUTS found no start or no end, or a covariance has no root.
    """
    import torch  # noqa: PLC0415 - takes seconds to load, like BoTorch
    from botorch.acquisition.multi_objective.logei import (  # noqa: PLC0415 - see above
        qLogNoisyExpectedHypervolumeImprovement,
    )
    from botorch.fit import fit_fully_bayesian_model_nuts  # noqa: PLC0415 - see above
    from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP  # noqa: PLC0415 - see above
    from botorch.models.model_list_gp_regression import ModelListGP  # noqa: PLC0415 - see above
    from botorch.sampling.normal import SobolQMCNormalSampler  # noqa: PLC0415 - see above
    from botorch.utils.multi_objective.hypervolume import infer_reference_point  # noqa: PLC0415 - see above

    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    models = [SaasFullyBayesianSingleTaskGP(inputs, target) for target in torch.split(targets, 1, dim=1)]
    for model in models:
        fit_fully_bayesian_model_nuts(
            model, warmup_steps=WARMUP, num_samples=SAMPLES, thinning=THINNING, disable_progbar=True, seed=seed
        )
    improvement = qLogNoisyExpectedHypervolumeImprovement(
        ModelListGP(*models),
        infer_reference_point(targets[list(front)]),
        inputs,
        sampler=SobolQMCNormalSampler(torch.Size([DRAWS]), seed=seed),
        prune_baseline=True,
        X_pending=torch.from_numpy(pending) if len(pending) else None,
    )

    def gain(rows: Floats) -> Floats:
        chunks = torch.split(torch.from_numpy(rows)[:, None], CHUNK)
        return torch.cat([improvement(chunk) for chunk in chunks]).numpy()

    return gain


@contextmanager
def _isolated(seed: int) -> Iterator[None]:
    """Seed PyTorch's random numbers inside, and compute without gradients, in double precision and without warnings.

    Outside, random numbers and settings stay as they were.
    """
    import torch  # noqa: PLC0415 - takes seconds to load

    jax = importlib.import_module("jax")  # an extra: type checkers do without
    with torch.random.fork_rng(devices=[]), torch.no_grad(), jax.enable_x64(True), warnings.catch_warnings():
        # Of targets that are no standard normal ones, of noise that was clamped, of jitter: all as published.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield


def _problems(setting: Setting) -> Iterator[Problem]:
    """Yield what a search with this sampler needs and does not have."""
    missing = [name for name in ("botorch", "jax", "numpyro") if importlib.util.find_spec(name) is None]
    if missing:
        remedy = f"needs {' and '.join(missing)}, an extra: pip install -c constraints.txt '.[saasbo]' in a checkout"
        yield Problem("sampler", "saasbo", remedy)


SAMPLER = Sampler(
    summary="AutoPEFT's: a sparse fully Bayesian Gaussian process of each objective, and noisy expected improvement",
    source="Zhou et al. 2024, TACL 12; Eriksson and Jankowiak 2021, UAI; BoTorch",
    choose=Saasbo,
    check=_problems,
)
