"""The training loop on a tiny model: its steps, its rates, what stops it and what it leaves."""

import math
import time

import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.messages import Fidelity, TrainingSettings
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.modules.plan import full_options
from tests.workers.conftest import lora
from workers.data import EncodedSplit
from workers.training import HEAD_RATE, Loop, TrainingStopped, rated, schedule, train


@pytest.fixture
def attach(tiny_model, tiny_geometry):
    """``attach(architecture)``: on a tiny BERT of its own."""

    def make(architecture=None, seed=0):
        architecture = lora() if architecture is None else architecture
        return Attachment(tiny_model("bert"), architecture, tiny_geometry("bert"), seed)

    return make


def rows(count=40, kind="classification", seed=0):
    random = torch.Generator().manual_seed(seed)
    ids = [torch.randint(5, 64, (3 + row % 5,), generator=random).tolist() for row in range(count)]
    targets = torch.arange(count) % 3
    return EncodedSplit(ids, None, targets.float() if kind == "regression" else targets, 0)


def gradients(loop):
    return [parameter.grad.clone() for parameter in loop.parameters]


def fit(attachment, scores=(0.5,), settings=None, deadline=None, count=40, **fidelity):
    """Train; return the outcome and the state at every evaluation."""
    states, told = [], iter(scores)

    def evaluate():
        states.append(attachment.state_dict())
        return next(told)

    settings = settings or TrainingSettings(batch_size=8)
    fidelity = Fidelity(**{"epochs": 1, "evaluations": len(scores), **fidelity})
    return train(attachment, rows(count), "classification", settings, fidelity, 0, evaluate, deadline), states


def assert_equal_states(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


# -- steps


@pytest.mark.parametrize(
    ("count", "epochs", "steps"),
    [(40, 1, 5), (40, 2, 10), (41, 1, 6), (41, 3, 18), (10, 3, 6), (3, 2, 2), (40, 0.1, 1)],
)
def test_epochs_are_passes_over_all_rows(attach, count, epochs, steps):
    assert fit(attach(), count=count, epochs=epochs)[0].steps == steps


@pytest.mark.parametrize(
    ("evaluations", "at"),
    [(1, [6]), (2, [3, 6]), (4, [2, 3, 4, 6]), (6, [1, 2, 3, 4, 5, 6]), (20, [1, 2, 3, 4, 5, 6])],
)
def test_evaluations_are_spread_over_the_steps_and_the_last_is_at_the_end(attach, evaluations, at):
    outcome, _ = fit(attach(), scores=[0.5] * evaluations, count=48)
    assert [step for step, _ in outcome.curve] == at


def test_the_same_seed_trains_the_same(attach):
    states = [fit(attach(seed=3))[1][-1] for _ in range(2)]
    assert_equal_states(*states)


@pytest.mark.parametrize(
    ("scores", "best"), [((0.5, 0.9, 0.2, 0.1, 0.3), 2), ((0.9, 0.5, 0.9, 0.1, 0.2), 1), ((1, 2, 3, 4, 5), 5)]
)
def test_a_run_ends_with_the_weights_of_its_best_step(attach, scores, best):
    attachment = attach()
    outcome, states = fit(attachment, scores=scores)
    assert (outcome.best_step, outcome.best_score) == (best, max(scores))
    assert outcome.curve == list(enumerate(scores, start=1))
    assert_equal_states(attachment.state_dict(), states[best - 1])
    if best != 5:
        with pytest.raises(AssertionError):
            assert_equal_states(attachment.state_dict(), states[-1])


def test_scores_below_zero_have_a_best_too(attach):
    assert fit(attach(), scores=(-0.5, -0.2, -0.9))[0].best_score == -0.2


# -- rates


def rates(attachment, **settings):
    return [(len(group["params"]), group["lr"]) for group in rated(attachment, TrainingSettings(**settings))]


def test_the_recipes_rate_goes_before_the_module_types(attach):
    own = MODULE_TYPES.get("lora")
    plain = attach(lora())
    site = plain.geometry.site("attention.query", 0)
    heads = len(plain.head)
    head = HEAD_RATE * 384 / 32
    assert rates(plain) == [(heads, head), (8, own.learning_rate(site, 4, own.options))]
    assert rates(plain, learning_rate=0.1) == [(heads, head), (8, 0.1)]
    assert rates(plain, head_learning_rate=0.2)[0] == (heads, 0.2)


def test_module_types_sizes_widths_and_options_have_rates_of_their_own(attach):
    placements = (
        Placement("lora", "attention.query", 0, 16),
        Placement("lora", "ffn.out", 0, 16),
        Placement("lora", "ffn.out", 1, 16, (("alpha", 16.0),)),
        Placement("lora", "attention.key", 1, 64),
        Placement("prefix", "attention.kv", 1, 2),
        Placement("ia3", "ffn.hidden", 0),
    )
    attachment = attach(Architecture(placements))
    wanted = {
        p.key: MODULE_TYPES.get(p.module).learning_rate(
            attachment.geometry.site(p.site, p.layer), p.size, full_options(p)
        )
        for p in placements
    }
    assert len(set(wanted.values())) == 6
    found = {
        id(parameter): group["lr"] for group in rated(attachment, TrainingSettings()) for parameter in group["params"]
    }
    for key, rate in wanted.items():
        assert {found[id(parameter)] for parameter in attachment.modules[key].parameters()} == {rate}


def test_every_trained_parameter_is_in_one_group(attach):
    attachment = attach()
    loop = Loop(attachment, "classification", TrainingSettings())
    trained = [p for group in attachment.parameter_groups().values() for p in group]
    assert sorted(map(id, loop.parameters)) == sorted(map(id, trained))


def test_weight_decay_is_on_everything(attach):
    loop = Loop(attach(), "classification", TrainingSettings(weight_decay=0.3))
    assert {group["weight_decay"] for group in loop.optimizer.param_groups} == {0.3}


@pytest.mark.parametrize(
    ("steps", "warmup", "factors"),
    [
        (10, 0.2, [1 / 2, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]),
        (4, 0.0, [1, 1, 2 / 3, 1 / 3, 0]),
        (1, 0.5, [1, 0]),
        (2, 0.99, [1 / 2, 1, 0]),
    ],
)
def test_the_rate_rises_in_the_warmup_and_falls_to_nothing_after_the_last_step(steps, warmup, factors):
    factor = schedule(steps, warmup)
    assert [factor(step) for step in range(steps + 1)] == pytest.approx(factors)


def test_the_first_step_is_at_the_first_rate_of_the_schedule(attach, monkeypatch):
    seen = []
    step = Loop.step

    def watch(self, batch):
        seen.append(self.optimizer.param_groups[1]["lr"])
        step(self, batch)

    monkeypatch.setattr(Loop, "step", watch)
    fit(attach(), settings=TrainingSettings(batch_size=4, warmup=0.2, learning_rate=1.0))
    assert seen == pytest.approx([1 / 2, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_gradients_are_clipped_together(attach):
    norms = {}
    for clip in (1e-3, 1e6):
        loop = Loop(attach(), "classification", TrainingSettings(gradient_clip=clip))
        loop.step(rows().batch(range(16)))
        norms[clip] = torch.cat([g.flatten() for g in gradients(loop)]).norm().item()
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1e6] > 0.05


def test_the_loss_of_a_regression_is_the_mean_squared_error(attach):
    attachment = attach()
    batch = rows(kind="regression").batch(range(6))
    loop = Loop(attachment, "regression", TrainingSettings())
    with torch.no_grad():
        outputs = attachment.model(**batch.inputs).logits[:, 0]
        assert loop._loss(batch).item() == pytest.approx(((outputs - batch.targets) ** 2).mean().item())


# -- memory


class Memory:
    """Refuses passes of more than so many rows, as a GPU that is too small."""

    def __init__(self, attachment, rows, error=None):
        self.rows, self.passes = rows, []
        self.error = error or (lambda: torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate"))
        attachment.model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, module, args, kwargs):
        count = len(kwargs["input_ids"])
        self.passes.append(count)
        if count > self.rows:
            raise self.error()


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize(
    ("limit", "passes"), [(16, [32, 16, 16]), (8, [32, 16, 8, 8, 8, 8]), (4, [32, 16, 8] + [4] * 8)]
)
def test_smaller_passes_give_the_gradients_of_the_whole_batch(attach, kind, limit, passes):
    settings = TrainingSettings(batch_size=32, gradient_clip=1e9)
    batch = rows(kind=kind).batch(range(32))
    whole = Loop(attach(), kind, settings)
    whole.step(batch)
    attachment = attach()
    memory = Memory(attachment, limit)
    halved = Loop(attachment, kind, settings)
    halved.step(batch)
    assert memory.passes == passes
    for one, other in zip(gradients(whole), gradients(halved), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    memory.passes.clear()
    halved.step(batch)
    assert memory.passes == [limit] * (32 // limit), "the smaller pass is kept"


def test_uneven_pieces_count_by_their_rows(attach):
    settings = TrainingSettings(batch_size=10, gradient_clip=1e9)
    batch = rows().batch(range(10))
    whole = Loop(attach(), "classification", settings)
    whole.step(batch)
    attachment = attach()
    memory = Memory(attachment, 3)
    halved = Loop(attachment, "classification", settings)
    halved.step(batch)
    assert memory.passes == [10, 5, 3, 3, 3, 1]
    for one, other in zip(gradients(whole), gradients(halved), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_memory_that_runs_out_halfway_through_the_backward_passes_leaves_nothing_behind(attach):
    settings = TrainingSettings(batch_size=8, gradient_clip=1e9)
    batch = rows().batch(range(8))
    whole = Loop(attach(), "classification", settings)
    whole.step(batch)
    attachment = attach()
    calls = []

    def refuse(module, grad_output):
        calls.append(len(grad_output[0]))
        if len(calls) in (1, 3):
            raise torch.OutOfMemoryError("CUDA out of memory")

    attachment.model.classifier.register_full_backward_pre_hook(refuse)
    halved = Loop(attachment, "classification", settings)
    halved.step(batch)
    assert calls == [8, 4, 4, 2, 2, 2, 2]
    for one, other in zip(gradients(whole), gradients(halved), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("batch_size", "at"), [(32, 4), (4, 1), (1, 1)])
def test_after_three_halvings_or_at_one_row_the_run_is_out_of_memory(attach, batch_size, at):
    attachment = attach()
    memory = Memory(attachment, 0)
    with pytest.raises(TrainingStopped, match=f"at {at} rows a pass: CUDA out of memory. Tried$") as stopped:
        fit(attachment, settings=TrainingSettings(batch_size=batch_size))
    assert stopped.value.reason == "out_of_memory"
    assert len(memory.passes) == int(math.log2(batch_size / at)) + 1


def test_an_allocation_that_a_cpu_cannot_make_counts_as_out_of_memory(attach):
    attachment = attach()
    Memory(attachment, 4, error=lambda: torch.empty(2**60))
    assert fit(attachment)[0].steps == 5


def test_another_runtime_error_does_not(attach):
    attachment = attach()
    Memory(attachment, 0, error=lambda: RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(attachment)


# -- what stops a run


def test_a_loss_that_is_not_finite_stops_the_run(attach):
    attachment = attach()
    settings = TrainingSettings(batch_size=8, learning_rate=1e38, head_learning_rate=1e38)
    with pytest.raises(TrainingStopped, match=r"the loss is (nan|inf) near step \d") as stopped:
        fit(attachment, settings=settings, epochs=4)
    assert stopped.value.reason == "diverged"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_stops_the_run(attach, score):
    with pytest.raises(TrainingStopped, match="the held-out score is .* at step 2 of 4") as stopped:
        fit(attach(), scores=(score, 0.5), count=32)
    assert stopped.value.reason == "diverged"


def test_a_run_stops_itself_after_its_deadline(attach):
    with pytest.raises(TrainingStopped, match="the wall limit passed at step 1 of 5") as stopped:
        fit(attach(), deadline=time.monotonic())
    assert stopped.value.reason == "timeout"
