"""Runs that share their passes: each learns what it learns alone, whoever is beside it and whatever they come to."""

import math
import time

import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.families import FAMILIES
from autopeft.messages import Bar, Fidelity, TrainingSettings
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.modules.attention import IMPLEMENTATION
from autopeft.modules.pack import Pack, can_pack
from autopeft.modules.weights import Weights
from tests.modules.test_conformance import (
    GATED,
    PLAIN,
    assert_untouched,
    everything,
    hooks_of,
    logits,
    options_of,
    shifts_every_score_alike,
    snapshot,
)
from tests.workers.test_activations import PLENTY, rows
from workers.activations import Trunk
from workers.evaluation import predict_logits, score_logits
from workers.packing import Together, predict_together
from workers.shelf import Shelf
from workers.training import Loop, Outcome, Run, TrainingStopped, train

KIND = "classification"
LENGTHS = tuple(3 + row % 7 for row in range(24))


def lora_on(site, layer, size=4, options=PLAIN):
    return Architecture((Placement("lora", site, layer, size, options),))


class Job:
    """What a member trains, and how."""

    def __init__(self, architecture, seed=0, epochs=1.0, evaluations=2, bars=(), deadline=None, **settings):
        self.architecture, self.seed, self.bars, self.deadline = architecture, seed, bars, deadline
        self.fidelity = Fidelity(epochs=epochs, evaluations=evaluations)
        # A tiny model's own rates are large, and what rounding changes is as large a part of each step.
        rates = {"learning_rate": 2e-3, "head_learning_rate": 2e-3}
        self.settings = TrainingSettings(**{"batch_size": 4, **rates, **settings})


class Side:
    """A model and rows, on which jobs run alone or together."""

    def __init__(self, model, geometry, config, shelf=None):
        if any(site.kind == "kv" for site in geometry.sites):  # as a model is loaded
            model.set_attn_implementation(IMPLEMENTATION)
        self.model, self.geometry, self.shelf = model, geometry, shelf or Shelf(PLENTY, 0)
        self.rows, self.held_out = rows(config, LENGTHS), rows(config)
        self.dtype = model.dtype
        self.passes = 0
        model.register_forward_pre_hook(self._count)

    def _count(self, *_):
        self.passes += torch.is_grad_enabled()

    def _of_model(self, weights):
        """Weights that are as exact as the model's."""
        for parameters in weights.parameter_groups().values() if self.dtype == torch.float64 else ():
            for parameter in parameters:
                parameter.data = parameter.data.double()
        return weights

    def alone(self, job):
        with Attachment(self.model, job.architecture, self.geometry, job.seed) as attachment:
            self._of_model(attachment)
            forward = Trunk(attachment, self.shelf).forward

            def evaluate():
                outputs = predict_logits(self.model, self.held_out, forward=forward(self.held_out))
                return score_logits(outputs, self.held_out, KIND)["accuracy"]

            named = {"forward": forward(self.rows), "bars": job.bars, "deadline": job.deadline}
            outcome = train(attachment, self.rows, KIND, job.settings, job.fidelity, job.seed, evaluate, **named)
            return outcome, attachment.state_dict()

    def together(self, jobs, dulled=()):
        """What became of each job, and its weights; the scores of the ``dulled`` are not a number."""
        members = [self._of_model(Weights(self.model, job.architecture, self.geometry, job.seed)) for job in jobs]
        with Pack(members) as pack:
            forward = Trunk(pack, self.shelf).forward

            def evaluate(places):
                found = predict_together(pack, places, self.held_out, forward(self.held_out))
                scores = [score_logits(outputs, self.held_out, KIND)["accuracy"] for outputs in found]
                return [math.nan if at in dulled else score for at, score in zip(places, scores, strict=True)]

            runs = [
                Run(weights, Loop(weights, KIND, job.settings), self.rows, job.fidelity, job.seed, job.bars)
                for weights, job in zip(members, jobs, strict=True)
            ]
            deadlines = [job.deadline for job in jobs]
            ended = Together(pack, runs, KIND, self.rows, forward(self.rows), evaluate, deadlines).train()
        return [(ended[place], weights.state_dict()) for place, weights in enumerate(members)]


@pytest.fixture
def side(tiny_model, tiny_geometry, tiny_config):
    """``side(family, dtype)``: on a tiny model of its own."""

    def make(family="bert", dtype=torch.float32, shelf=None):
        return Side(tiny_model(family, dtype), tiny_geometry(family), tiny_config(family), shelf)

    return make


def assert_same(found, expected, atol):
    (outcome, state), (own, alone) = found, expected
    assert isinstance(outcome, Outcome), outcome
    assert (outcome.steps, outcome.best_step, outcome.missed) == (own.steps, own.best_step, own.missed)
    assert outcome.curve == own.curve
    assert state.keys() == alone.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(state[name], tensor, atol=atol, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


def distance(one, other):
    return (one - other).abs().max().item()


def assert_as_alone(side, jobs, atol=1e-5):
    expected = [side.alone(job) for job in jobs]
    found = side.together(jobs)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, atol)
    return expected


def all_at_once(geometry, options=PLAIN):
    """Every module type at every site, but for what cannot be shared."""
    placements = everything(geometry, options).placements
    return Architecture(tuple(p for p in placements if can_pack(Architecture((p,)), geometry)))


def mixed_jobs(geometry):
    """Every module type at every site, gated and not, beside smaller ones of other sizes, rates, seeds and batches."""
    linear = next(s.name for s in geometry.sites if s.kind == "linear" and can_pack(lora_on(s.name, 0), geometry))
    last = geometry.layers - 1
    return [
        Job(all_at_once(geometry)),
        Job(all_at_once(geometry), seed=1),
        Job(all_at_once(geometry, GATED), learning_rate=5e-4),
        Job(lora_on(linear, 0, 2), batch_size=6),
        Job(lora_on(linear, last, 2), head_learning_rate=1e-2),
        Job(lora_on(linear, last, 3), seed=2, weight_decay=0.1, gradient_clip=0.1, warmup=0.5),
        Job(Architecture()),
    ]


# -- exactness


@pytest.mark.parametrize("family", FAMILIES)
def test_candidates_of_all_kinds_learn_together_what_each_learns_alone(side, family):
    one = side(family, torch.float64)
    expected = assert_as_alone(one, mixed_jobs(one.geometry), atol=1e-6)
    for (_, first), (_, second) in zip(expected, expected[1:], strict=False):
        shared = [name for name in first if name in second and first[name].shape == second[name].shape]
        assert max(distance(first[name], second[name]) for name in shared) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32_their_first_outputs_are_those_of_each_alone(side, family):
    one = side(family)
    jobs = mixed_jobs(one.geometry)
    members = [Weights(one.model, job.architecture, one.geometry, job.seed) for job in jobs]
    with Pack(members) as pack:
        together = predict_together(pack, range(len(jobs)), one.held_out, Trunk(pack, one.shelf).forward(one.held_out))
    for job, outputs in zip(jobs, together, strict=True):
        with Attachment(one.model, job.architecture, one.geometry, job.seed):
            alone = predict_logits(one.model, one.held_out)
        torch.testing.assert_close(outputs, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "options"), [(module, options) for module in MODULE_TYPES.names for options in options_of(module)]
)
def test_like_modules_that_run_as_one_learn_what_each_learns_alone(side, module, options):
    # In float64: AdamW makes steps of equal size of gradients that are nothing but a float32's rounding.
    one = side("bert", torch.float64)
    kinds = MODULE_TYPES.get(module).kinds
    sizes = (2, 2, 2, 3) if MODULE_TYPES.get(module).sized else (0, 0, 0, 0)
    sites = [s for s in one.geometry.sites if s.kind in kinds and not shifts_every_score_alike("bert", module, s.name)]
    jobs = [
        Job(Architecture(tuple(Placement(module, s.name, s.layer, size, options) for s in sites)), seed=seed)
        for seed, size in enumerate(sizes)
    ]
    assert_as_alone(one, jobs, atol=1e-6)


def test_one_by_itself_is_the_same_to_the_last_digit(side):
    one = side()
    job = Job(everything(one.geometry))
    ((outcome, state),), (own, alone) = one.together([job]), one.alone(job)
    assert outcome.curve == own.curve
    assert [name for name in alone if not torch.equal(state[name], alone[name])] == []


def test_in_bfloat16_heads_and_modules_keep_their_types(side):
    one = side("bert", torch.bfloat16)
    jobs = [Job(everything(one.geometry), seed=seed) for seed in range(3)]
    for (outcome, state), job in zip(one.together(jobs), jobs, strict=True):
        assert isinstance(outcome, Outcome)
        assert {tensor.dtype for tensor in state.values()} == {torch.float32}
        fresh = Weights(one.model, job.architecture, one.geometry, job.seed).state_dict()
        assert max(distance(state[name], fresh[name]) for name in fresh) > 1e-3


def test_a_regression_learns_together_what_it_learns_alone(side, monkeypatch):
    one = side()
    monkeypatch.setattr("tests.workers.test_packing.KIND", "regression")
    monkeypatch.setattr("tests.workers.test_packing.score_logits", lambda *_: {"accuracy": 0.5})
    for split in (one.rows, one.held_out):
        object.__setattr__(split, "targets", split.targets.float())
    assert_as_alone(one, [Job(lora_on("attention.query", 0)), Job(Architecture(), seed=1)])


# -- passes


def test_runs_share_their_passes(side):
    one = side()
    jobs = [Job(lora_on("attention.query", 0), seed=seed) for seed in range(4)]
    for job in jobs:
        one.alone(job)
    apart, one.passes = one.passes, 0
    one.together(jobs)
    assert (apart, one.passes) == (4 * 6, 6)


def test_what_lies_below_all_members_is_stored_and_the_lowest_decides(side):
    for layers, boundary in (((1, 1), 1), ((0, 1), 0), ((1, 2), 1)):
        one = side(shelf=Shelf(PLENTY, 0))
        jobs = [Job(lora_on("attention.query", at) if at < 2 else Architecture()) for at in layers]
        one.together(jobs)
        below = {f"encoder.layer.{boundary - 1}"} if boundary else set()
        read = {f"encoder.layer.{boundary}.attention.self.{name}" for name in ("query", "key", "value")}
        assert {path for _, path in one.shelf._kept} == below | read


# -- ends


def test_the_longer_run_goes_on_alone_when_the_shorter_has_ended(side):
    jobs = [
        Job(lora_on("attention.query", 0), seed=seed, epochs=epochs) for seed, epochs in ((0, 1), (1, 3), (2, 0.5))
    ]
    one = side()
    expected = assert_as_alone(one, jobs)
    assert [outcome.steps for outcome, _ in expected] == [6, 18, 3]
    one.passes = 0
    one.together(jobs)
    assert one.passes == 18


def test_a_run_below_its_bar_leaves_and_the_others_do_not_notice(side):
    bar = Bar(share=0.5, score=2.0)
    jobs = [Job(lora_on("attention.query", 0), seed=seed, bars=(bar,) if seed == 1 else ()) for seed in range(3)]
    expected = assert_as_alone(side(), jobs)
    assert [bool(outcome.missed) for outcome, _ in expected] == [False, True, False]
    assert len(expected[1][0].curve) == 1


def test_a_run_that_diverges_leaves_and_the_others_do_not_notice(side):
    wild = {"learning_rate": 1e38, "head_learning_rate": 1e38}
    jobs = [Job(lora_on("ffn.in", 0), seed=seed, **(wild if seed == 1 else {})) for seed in range(3)]
    one = side()
    found = one.together(jobs)
    stopped = found[1][0]
    assert isinstance(stopped, TrainingStopped) and stopped.reason == "diverged"
    with pytest.raises(TrainingStopped, match=str(stopped)):
        one.alone(jobs[1])
    for place in (0, 2):
        assert_same(found[place], one.alone(jobs[place]), 1e-5)


def test_weights_that_are_not_numbers_reach_no_other_member(side):
    one = side()
    members = [Weights(one.model, everything(one.geometry), one.geometry, seed) for seed in range(3)]
    for parameter in members[1].modules.parameters():
        parameter.data.fill_(math.nan)
    with Pack(members) as pack:
        batch = one.rows.batch([0, 1, 2, 3]).repeated(3)
        with pack.holding([4, 4, 4]):
            parts = pack.model(**batch.inputs).logits.chunk(3)
        torch.autograd.backward([part.sum() for part in parts])
    assert [bool(part.isfinite().all()) for part in parts] == [True, False, True]
    for member, finite in zip(members, (True, False, True), strict=True):
        gradients = [parameter.grad for parameter in member.modules.parameters()]
        assert all(bool(gradient.isfinite().all()) for gradient in gradients) == finite


def test_a_score_that_is_not_a_number_ends_its_own_run(side):
    one = side()
    jobs = [Job(lora_on("attention.query", 0), seed=seed) for seed in range(3)]
    found = one.together(jobs, dulled=(0,))
    assert isinstance(found[0][0], TrainingStopped) and found[0][0].reason == "diverged"
    for place in (1, 2):
        assert_same(found[place], one.alone(jobs[place]), 1e-5)


def test_a_run_past_its_deadline_ends_by_itself(side):
    one = side()
    late = Job(lora_on("attention.query", 0), deadline=time.monotonic())
    (first, _), second = one.together([late, Job(lora_on("attention.query", 0), seed=1)])
    assert isinstance(first, TrainingStopped) and first.reason == "timeout"
    assert isinstance(second[0], Outcome) and second[0].curve[-1][0] == second[0].steps


# -- the model


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_the_model_is_left_as_it_was_even_by_a_pass_that_fails(tiny_model, tiny_geometry, tiny_batch, family):
    model, geometry, batch = tiny_model(family), tiny_geometry(family), tiny_batch(family)
    del batch["labels"]
    state, hooks, implementation = snapshot(model), hooks_of(model), model.config._attn_implementation
    before = logits(model, batch)
    members = [Weights(model, everything(geometry, GATED), geometry, seed) for seed in (0, 1)]
    with pytest.raises(RuntimeError), Pack(members) as pack, pack.holding([1, 1]):
        assert hooks_of(model) > hooks
        model(**batch)  # three rows, not two
    assert_untouched(model, state)
    assert (hooks_of(model), model.config._attn_implementation) == (hooks, implementation)
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert torch.equal(logits(model, batch), before)


def test_what_ties_rows_together_cannot_be_shared(tiny_geometry):
    assert can_pack(lora_on("attention.query", 0), tiny_geometry("bert"))
    assert not can_pack(Architecture(quantisation="int8"), tiny_geometry("bert"))
    assert can_pack(Architecture(quantisation="nf4"), tiny_geometry("bert"))
    deberta = tiny_geometry("deberta-v2")
    assert not can_pack(lora_on("attention.query", 0), deberta)
    assert can_pack(lora_on("attention.value", 0), deberta)
