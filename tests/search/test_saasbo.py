"""SAASBO by itself: what it proposes, from what, and what it needs."""

import importlib.util
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from transformers import BertConfig

from autopeft.errors import NoFeasibleArchitecture
from autopeft.geometry import ModelGeometry
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.pareto import cost_axis, hypervolume
from autopeft.samplers import drawing, saasbo
from autopeft.samplers.base import Setting
from autopeft.samplers.saasbo import SAMPLER, Saasbo, columns, copula
from autopeft.space import Choice, Integers, Range, load_space
from autopeft.trial import Trial

GEOMETRY = ModelGeometry.from_config(
    BertConfig(hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128).to_dict()
)
FEW = {"lora": {"sites": ["attention.query"], "size": [64, 4, 1]}}
HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("jax", "numpyro"))
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="needs autopeft[saasbo]: jax and numpyro")


def setting(space="autopeft", seed=0, cap=math.inf, trials=8, past=()):
    def admit(architecture):
        normal = normalise(architecture, GEOMETRY)
        params = count_parameters(normal, GEOMETRY)
        return (normal, params) if params <= cap else None

    return Setting(load_space(str(space), GEOMETRY), seed, admit, past, trials=trials)


@pytest.fixture
def few(tmp_path):
    """``few(**more)``: the path of a space of three sizes."""

    def write(**more):
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({"schema": 1, "summary": "few", "modules": FEW, **more}))
        return path

    return write


@pytest.fixture
def few_looks(monkeypatch):
    monkeypatch.setattr(saasbo, "EVALUATIONS", 60)
    monkeypatch.setattr(saasbo, "DRAWS", 8)


@pytest.fixture
def fitted(few_looks, monkeypatch):
    """Instead of NUTS, the same length scales for all: the calls that were made."""
    calls = []

    def fit(model, **options):
        calls.append((model, options))
        model.load_mcmc_samples(
            {
                "mean": torch.zeros(2, dtype=torch.double),
                "outputscale": torch.ones(2, dtype=torch.double),
                "noise": torch.full((2,), 1e-3, dtype=torch.double),
                "lengthscale": torch.tensor([[1.0], [2.0]], dtype=torch.double).repeat(
                    1, model.pyro_model.ard_num_dims
                ),
            }
        )
        model.eval()

    monkeypatch.setattr("botorch.fit.fit_fully_bayesian_model_nuts", fit)
    return calls


def score(architecture):
    """Best with all layers and modules of a middling size."""
    sizes = [math.log2(placement.size) for placement in architecture.placements]
    return 0.5 + 0.1 * len(architecture.layers) - 0.02 * sum((size - 2) ** 2 for size in sizes) / len(sizes)


def tell(chooser, proposal, value, state="complete"):
    trial = Trial(0, "", proposal.architecture, proposal.params, value, state, None, 1.0, 1)
    chooser.see(trial, proposal.token)
    return trial


def step(chooser, scored=score):
    proposal = chooser.propose()
    if proposal is not None:
        tell(chooser, proposal, None, "running")
        tell(chooser, proposal, scored(proposal.architecture))
    return proposal


def run(chooser, count, scored=score):
    return [step(chooser, scored) for _ in range(count)]


# -- random points


def test_half_of_the_trials_are_random_up_to_a_hundred_and_twenty_where_time_decides(monkeypatch):
    asked = []
    monkeypatch.setattr(Saasbo, "_best", lambda self, tried, running: asked.append(len(tried)))
    for trials, first in ((8, 4), (500, 100), (None, 20)):
        asked.clear()
        run(Saasbo(setting(trials=trials)), first + 2)
        assert asked == [first, first + 1]


def test_points_that_run_are_not_first_points_yet_and_failed_ones_and_baselines_are_nothing_to_learn_from(monkeypatch):
    monkeypatch.setattr(saasbo, "_gain", lambda *_: pytest.fail("there is nothing to model"))
    chooser = Saasbo(setting(trials=4))
    for state in ("running", "running", "failed", "failed"):
        tell(chooser, chooser.propose(), None, state)
    baseline = chooser.propose()
    chooser.see(Trial(9, "LoRA", baseline.architecture, baseline.params, 0.7, "complete", None, 1.0, 1), None)
    tell(chooser, chooser.propose(), 0.6)
    assert chooser.propose() is not None, "random, by one score"


def test_nothing_admitted_at_all_is_an_error(monkeypatch):
    monkeypatch.setattr(drawing, "RANDOM_DRAWS", 20)
    with pytest.raises(NoFeasibleArchitecture, match="none of 20 random points of 'autopeft' meets the caps"):
        Saasbo(setting(cap=1)).propose()


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numpyro" else object())
    (problem,) = SAMPLER.check(setting())
    assert (problem.field, problem.value) == ("sampler", "saasbo")
    assert problem.remedy == "needs numpyro, an extra: pip install -c constraints.txt '.[saasbo]' in a checkout"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert not list(SAMPLER.check(setting()))


# -- what the processes see


def test_values_are_seen_within_zero_and_one():
    assert columns(Choice("size", (64, 4, 1), ordered=True), 4) == [0.5]
    assert columns(Choice("on", (False, True)), True) == [1.0]
    assert columns(Choice("kind", ("a", "b", "c")), "b") == [0.0, 1.0, 0.0]
    assert columns(Integers("rank", 1, 16), 4) == pytest.approx([0.5])
    assert columns(Range("rate", 1e-4, 1e-2, log=True), 1e-3) == pytest.approx([0.5])
    assert columns(Range("share", 2.0, 4.0), 2.5) == [0.25]


@pytest.mark.parametrize(
    "dimension",
    [Choice("size", (64, 4, 1), ordered=True), Integers("rank", 1, 16), Range("rate", 1e-4, 1e-2, log=True)],
)
def test_a_move_stays_within_the_dimension(dimension):
    rng = random.Random(0)
    value = dimension.sample(rng)
    moved = [saasbo._move(dimension, value, rng) for _ in range(100)]
    assert all(0.0 <= columns(dimension, other)[0] <= 1.0 for other in moved) and len(set(moved)) > 1
    assert {type(other) for other in moved} == {type(value)}


def test_the_copula_keeps_the_order_and_ties_and_has_no_infinite_ends():
    first, second = copula(np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 1.0]])).T
    assert first[1] < first[2] == first[3] < first[0] == pytest.approx(3.719, abs=1e-3)
    assert len(set(second)) == 1 and np.isfinite(second).all()


# -- points by the model


@needs_extra
def test_it_finds_more_than_random_points(fitted, monkeypatch):
    monkeypatch.setattr(saasbo, "EVALUATIONS", 200)
    by_model = run(Saasbo(setting(trials=16)), 16)
    at_random = run(Saasbo(setting(trials=32)), 16)
    assert [p.point for p in by_model[:8]] == [p.point for p in at_random[:8]]
    areas = [
        hypervolume([(cost_axis(p.params), score(p.architecture)) for p in points], (5.0, 0.0))
        for points in (by_model, at_random)
    ]
    assert areas[0] > 1.1 * areas[1], "of as many points"
    assert len({p.architecture.fingerprint for p in by_model}) == 16 and len(fitted) == 2 * 8


@needs_extra
def test_a_cap_is_kept_by_every_proposal(fitted):
    proposals = run(Saasbo(setting(cap=3000, trials=6)), 6)
    assert all(p.params <= 3000 for p in proposals) and len({p.architecture for p in proposals}) == 6


@needs_extra
def test_a_small_space_is_used_up_without_a_duplicate_and_then_gives_none(fitted, few):
    chooser = Saasbo(setting(few(), trials=4))
    proposals = run(chooser, 3)
    assert len({p.architecture for p in proposals}) == 3
    assert chooser.propose() is None and len(fitted) == 4


@needs_extra
def test_what_runs_is_pending_and_what_failed_is_not_learned_from(fitted, monkeypatch):
    seen = []
    gain = saasbo._gain
    monkeypatch.setattr(saasbo, "_gain", lambda *arguments: (seen.append(arguments), gain(*arguments))[1])
    chooser = Saasbo(setting())
    run(chooser, 3)
    tell(chooser, chooser.propose(), None, "pruned")
    running = chooser.propose()
    tell(chooser, running, None, "running")
    assert chooser.propose().architecture != running.architecture
    assert [len(x) for x, *_ in seen] == [3, 3] and [len(y) for _, y, *_ in seen] == [3, 3]
    assert [len(pending) for _, _, pending, *_ in seen] == [0, 1]
    assert (seen[1][2] == chooser._rows([running.point])).all()


@needs_extra
def test_the_past_is_learned_from_but_for_baselines(fitted):
    before = Saasbo(setting())
    past = [(tell(before, p, score(p.architecture)), p.point) for p in run(before, 4)]
    past.append((replace(past[0][0], name="LoRA"), {}))
    resumed = Saasbo(setting(past=past[1:]))
    assert resumed.propose().architecture not in {trial.architecture for trial, _ in past}
    assert fitted == [], "a baseline is no first point"
    assert Saasbo(setting(past=past[:4])).propose().architecture not in {trial.architecture for trial, _ in past}
    assert [model.train_targets.shape[-1] for model, _ in fitted] == [4, 4]


@needs_extra
def test_processes_that_cannot_be_fitted_are_tried_thrice_and_then_a_point_is_random(few_looks, monkeypatch, caplog):
    starts = []

    def fail(model, seed, **options):
        starts.append(seed)
        raise RuntimeError("cannot find valid initial parameters")

    monkeypatch.setattr("botorch.fit.fit_fully_bayesian_model_nuts", fail)
    chooser = Saasbo(setting())
    proposals = run(chooser, 5)
    assert len(set(starts)) == 3 and len({p.architecture for p in proposals}) == 5
    assert "no model of 4 scores, a random point instead: cannot find valid initial parameters" in caplog.text


@needs_extra
def test_the_same_seed_proposes_the_same_and_another_does_not(fitted):
    points, seeds = [], []
    for seed in (0, 0, 1):
        points.append([p.point for p in run(Saasbo(setting(seed=seed)), 6)])
        seeds.append([options["seed"] for _, options in fitted])
        fitted.clear()
    assert points[0] == points[1] != points[2]
    assert seeds[0] == seeds[1] != seeds[2] and len(set(seeds[0])) == 2, "NUTS starts from it"


@needs_extra
def test_nuts_takes_scores_that_are_all_equal_and_disturbs_nothing_else(few_looks, monkeypatch, caplog):
    jax = importlib.import_module("jax")
    for name, value in {"WARMUP": 4, "SAMPLES": 4, "THINNING": 2}.items():
        monkeypatch.setattr(saasbo, name, value)
    torch.manual_seed(7)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), jax.numpy.ones(1).dtype
    run(Saasbo(setting(trials=4)), 3, scored=lambda _: 0.5)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), jax.numpy.ones(1).dtype
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:] and torch.is_grad_enabled()
    assert not caplog.text, "it was no random point"
