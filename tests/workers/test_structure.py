"""The search that trains gates in turns with the weights, and requests for one."""

import time

import numpy as np
import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.messages import GateSettings, TrainingSettings, TrialReport, TrialRequest
from autopeft.modules.attach import Attachment
from tests.workers.conftest import gated_logits, lora, mixed
from workers import proxy
from workers.data import EncodedSplit
from workers.structure import _Search, gate_costs, halve, search_structure
from workers.training import Loop, TrainingStopped

close = torch.testing.assert_close


def rows(count=40, seed=0, label=lambda ids, row: row % 3):
    random = torch.Generator().manual_seed(seed)
    ids = [torch.randint(5, 64, (3 + row % 5,), generator=random).tolist() for row in range(count)]
    return EncodedSplit(ids, None, torch.tensor([label(i, row) for row, i in enumerate(ids)]), 0)


GATES = GateSettings(budget=300)
SETTINGS = TrainingSettings(batch_size=4)


def search(attachment, data=None, gates=GATES, settings=SETTINGS, seed=0, steps=5, deadline=None):
    data = rows() if data is None else data
    gates = gates.model_copy(update={"steps": steps})
    return search_structure(attachment, data, "classification", settings, seed, gates, deadline)


@pytest.mark.parametrize("order", ["first", "second"])
def test_the_probabilities_fit_the_budget_and_the_same_seed_finds_the_same(attach_gated, order):
    gates = GateSettings(budget=300, order=order)
    found, again = (search(attach_gated(perturbed=False), gates=gates) for _ in range(2))
    assert found.probabilities == again.probabilities
    assert found.probabilities != search(attach_gated(perturbed=False), gates=gates, seed=1).probabilities
    costs = gate_costs(attach_gated())
    assert (torch.tensor(found.probabilities).double() * costs).sum().item() == pytest.approx(300, rel=1e-6)
    assert len(set(found.probabilities)) > 7 and found.busy_seconds > 0


def test_costs_are_the_modules_own_parameters(attach_gated):
    assert gate_costs(attach_gated(lora())).tolist() == [4 * 64] * 4


@pytest.mark.parametrize(("count", "steps"), [(40, 5), (41, 1), (2, 7)])
def test_a_search_takes_the_steps_that_it_is_given(attach_gated, count, steps):
    assert search(attach_gated(), rows(count), steps=steps).steps == steps


@pytest.mark.parametrize("count", [2, 3, 40, 41])
def test_halves_hold_every_row_once_and_follow_the_seed(count):
    numbered = rows(count, label=lambda ids, row: row)

    def targets(seed):
        return [half.targets.tolist() for half in halve(numbered, np.random.default_rng(seed))]

    weights, gates = targets(0)
    assert sorted(weights + gates) == list(range(count)) and len(weights) - len(gates) == count % 2
    assert targets(0) == [weights, gates]
    assert count < 40 or targets(1) != [weights, gates]


def test_one_row_or_no_placement_is_no_search(attach_gated):
    with pytest.raises(ValueError, match="halves its training rows, and there are 1"):
        search(attach_gated(), rows(1))
    with pytest.raises(ValueError, match="needs a placement"):
        search(attach_gated(Architecture()))


def test_weights_and_gates_never_see_each_others_rows(attach_gated, monkeypatch):
    seen = {True: set(), False: set()}
    differentiate = Loop.differentiate

    def watch(self, batch, leaves):
        seen[leaves is self.parameters].update(map(tuple, batch.inputs["input_ids"].tolist()))
        differentiate(self, batch, leaves)

    monkeypatch.setattr(Loop, "differentiate", watch)
    data = rows(24)
    equally_long = EncodedSplit([[10 + row] * 4 for row in range(24)], None, data.targets, 0)
    search(attach_gated(lora()), equally_long, steps=6)
    assert len(seen[True]) == len(seen[False]) == 12 and not seen[True] & seen[False]


@pytest.mark.parametrize(("draws", "order"), [(1, "first"), (4, "first"), (3, "second")])
def test_every_step_hears_so_many_batches_of_the_gates_half(attach_gated, monkeypatch, draws, order):
    heard = []
    differentiate = _Search._differentiate

    def watch(self, batch, drawn, weights):
        heard.append(tuple(map(tuple, batch.inputs["input_ids"].tolist())))
        return differentiate(self, batch, drawn, weights)

    monkeypatch.setattr(_Search, "_differentiate", watch)
    gates = GateSettings(budget=300, draws=draws, order=order)
    found = search(attach_gated(perturbed=False), rows(160), gates)
    each = draws if order == "first" else draws * 4  # three more passes a draw
    assert len(heard) == found.steps * each
    assert len(set(heard[:each])) >= draws


def test_a_step_takes_the_mean_of_its_draws(attach_gated, monkeypatch):
    attachment = attach_gated()
    turns = _Search(Loop(attachment, "classification", SETTINGS, 1.0), attachment, GATES, None)
    given = [torch.full_like(turns.logits, number, requires_grad=False) for number in (1.0, 2.0, 6.0)]
    monkeypatch.setattr(turns, "_gradient", lambda weight_batch, gate_batch: given[gate_batch])
    monkeypatch.setattr(turns, "_draw", lambda: torch.ones(len(turns.keys)))
    turns.step(next(rows().shuffled_batches(4, np.random.default_rng(0))), range(3))
    assert turns.logits.grad.tolist() == [3.0] * len(turns.keys)


def test_a_search_leaves_no_gate_behind(attach_gated, tiny_batch):
    attachment, batch = attach_gated(lora()), tiny_batch("bert")
    search(attachment)
    assert torch.equal(attachment.model(**batch).logits, gated_logits(attachment, batch))


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("order", ["first", "second"])
def test_the_one_placement_that_can_help_is_found(tiny_model, tiny_geometry, layer, order):
    # Nothing leaves the sub-layers but what a module adds at ffn.out, so that no other module is heard.
    model = tiny_model("bert")
    for name, parameter in model.named_parameters():
        if name.endswith("output.dense.weight"):
            parameter.data.zero_()
    sites = ("attention.query", "attention.key", "attention.value")
    silent = [Placement("lora", site, i, 2) for site in sites for i in (0, 1)]
    useful = Placement("lora", "ffn.out", layer, 2)
    attachment = Attachment(model, Architecture((*silent, useful)), tiny_geometry("bert"))
    # The label is in the first token, whose place is the one that is classified; the head hardly moves.
    ids = [[5 + row % 9, 20 + row % 7] for row in range(160)]
    data = EncodedSplit(ids, None, torch.tensor([first % 3 for first, _ in ids]), 0)
    settings = TrainingSettings(batch_size=8, head_learning_rate=1e-9)
    found = search(attachment, data, GateSettings(budget=160, order=order), settings, steps=60)
    by_place = dict(zip([p.key for p in attachment.architecture.placements], found.probabilities, strict=True))
    best = by_place.pop(useful.key)
    assert best > 5 * max(by_place.values())


# -- what stops it


@pytest.mark.parametrize("order", ["first", "second"])
def test_a_loss_that_is_not_finite_stops_the_search(attach_gated, order):
    wild = TrainingSettings(batch_size=4, learning_rate=1e38, head_learning_rate=1e38)
    with pytest.raises(TrainingStopped, match="the loss is (nan|inf)") as stopped:
        search(attach_gated(), settings=wild, gates=GateSettings(budget=300, order=order), steps=10)
    assert stopped.value.reason == "diverged"


def test_a_deadline_stops_the_search(attach_gated):
    with pytest.raises(TrainingStopped, match="the wall limit passed at step 1 of 5") as stopped:
        search(attach_gated(), deadline=time.monotonic())
    assert stopped.value.reason == "timeout"


class Memory:
    """Refuses passes of more than so many rows, as a GPU that is too small."""

    def __init__(self, attachment, rows):
        self.rows = rows
        attachment.model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, module, args, kwargs):
        if len(kwargs["input_ids"]) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_smaller_passes_find_the_same_and_too_little_memory_stops_the_search(attach_gated):
    whole, small, none = attach_gated(), attach_gated(), attach_gated()
    Memory(small, 1)
    Memory(none, 0)
    close(search(small).probabilities, search(whole).probabilities, rtol=1e-3, atol=1e-4)
    with pytest.raises(TrainingStopped, match="at 1 rows a pass") as stopped:
        search(none)
    assert stopped.value.reason == "out_of_memory"


# -- a request


def test_a_request_with_gates_reports_probabilities(request_for):
    request = request_for(gates=GateSettings(budget=700, steps=4), keep_weights=True)
    request = TrialRequest.model_validate_json(request.model_dump_json())
    report, again = proxy.run(request), proxy.run(request)
    assert report.state == "complete", report.detail
    assert report.probabilities == again.probabilities and len(report.probabilities) == 4
    assert sum(report.probabilities) * report.params / 4 == pytest.approx(700, rel=1e-6)
    assert (report.scores, report.curve, report.weights) == ({}, (), None)
    trained = proxy.run(request_for())
    assert report.steps == 4 and (report.params, report.head_params) == (trained.params, trained.head_params)
    assert 0 < report.busy_seconds <= report.seconds and report.device.startswith("cpu (")
    assert TrialReport.model_validate_json(report.model_dump_json()) == report


def test_a_search_changes_nothing_for_the_trials_after_it(request_for):
    before = proxy.run(request_for())
    proxy.run(request_for(mixed(), gates=GateSettings(budget=300, order="second", steps=3)))
    after = proxy.run(request_for())
    assert (before.curve, before.metrics, before.probabilities) == (after.curve, after.metrics, ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"wall_limit": 1e-9}, "timeout"),
        ({"training": TrainingSettings(batch_size=8, learning_rate=1e38, head_learning_rate=1e38)}, "diverged"),
        ({"architecture": Architecture((Placement("prefix", "attention.kv", 0, 2),))}, "error"),
    ],
)
def test_a_search_that_fails_reports_why(request_for, changes, reason):
    report = proxy.run(request_for(gates=GateSettings(budget=100), **changes))
    assert (report.state, report.reason, report.probabilities) == ("failed", reason, ())
    assert reason != "error" or "000:attention-kv:prefix" in report.detail
