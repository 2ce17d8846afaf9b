"""Several requests in, their reports out: as if each had run by itself, with the fault of one on that one alone."""

import pytest
import torch
from safetensors.torch import load

from autopeft.architecture import Architecture, Placement
from autopeft.messages import Bar, Fidelity, GateSettings, TrainingSettings
from autopeft.modules.lora import Lora
from tests.workers.conftest import FIDELITY, lora, mixed
from workers import packs, proxy, reporting
from workers.packing import Together

RATES = TrainingSettings(batch_size=16, learning_rate=2e-3, head_learning_rate=2e-3)


@pytest.fixture
def requests_for(request_for):
    """``requests_for(architecture or changes, ...)``: requests that differ in these things, each with a key."""

    def make(*told, **common):
        requests = []
        for number, one in enumerate(told):
            changes = {"architecture": one} if isinstance(one, Architecture) else one
            requests.append(request_for(**{"key": f"trial {number}", "training": RATES, **common, **changes}))
        return requests

    return make


def alike(report):
    """What a report says, but for time and memory."""
    return report.model_dump(exclude={"seconds", "busy_seconds", "peak_memory", "weights"})


def assert_as_alone(requests, reports):
    assert [report.key for report in reports] == [request.key for request in requests]
    for request, report in zip(requests, reports, strict=True):
        alone = proxy.run(request)
        assert alike(report) == alike(alone)
        assert (report.weights is None) == (alone.weights is None)
        if report.weights is not None:
            own, other = load(report.weights), load(alone.weights)
            assert own.keys() == other.keys()
            for name in own:
                torch.testing.assert_close(own[name], other[name], atol=1e-5, rtol=0)


def test_reports_are_those_of_each_request_by_itself(requests_for, pack_sizes):
    requests = requests_for(
        lora(),
        {"architecture": mixed(), "seed": 1},
        {"architecture": Architecture(), "parts": ("holdout", "validation", "test")},
        {"architecture": lora(8), "fidelity": FIDELITY.model_copy(update={"epochs": 1.0, "held_out_rows": 16})},
        {"architecture": lora(2, training=(("epochs", 3.0), ("learning_rate", 1e-3)))},
        {"architecture": lora(), "bars": (Bar(share=0.5, score=2.0),)},
        keep_weights=True,
    )
    reports = packs.run_all(requests)
    assert pack_sizes == [5]
    assert [report.state for report in reports] == ["complete"] * 5 + ["pruned"]
    assert_as_alone(requests, reports)


def test_runs_share_the_time_of_their_pack(requests_for):
    requests = requests_for(*[{"seed": seed} for seed in range(4)])
    packs.run_all(requests)  # loads what stays
    reports = packs.run_all(requests)
    alone = [proxy.run(request) for request in requests]
    assert all(0 < report.busy_seconds < report.seconds for report in reports)
    assert sum(report.seconds for report in reports) < 2 * sum(report.seconds for report in alone)


def test_a_regression_shares_passes_too(requests_for, numbers):
    requests = requests_for(*[{"seed": seed} for seed in range(3)], task=numbers(100, -7))
    reports = packs.run_all(requests)
    for request, report in zip(requests, reports, strict=True):
        alone = proxy.run(request)
        assert (report.center, report.scale) == (alone.center, alone.scale)
        assert report.scores["holdout"] == pytest.approx(alone.scores["holdout"], abs=1e-4)


# -- who shares


def test_requests_for_other_rows_models_or_types_have_passes_of_their_own(requests_for, numbers, pack_sizes):
    other = {"fidelity": Fidelity(rows=32, epochs=1, evaluations=1)}
    requests = requests_for(lora(), other, mixed(), other, {"task": numbers()}, {"precision": "bfloat16"})
    assert {report.state for report in packs.run_all(requests)} == {"complete"}
    assert sorted(pack_sizes) == [2, 2]


def test_runs_whose_own_time_or_memory_is_asked_for_have_the_machine_to_themselves(requests_for, pack_sizes):
    gates = GateSettings(budget=100)
    alone = [{"shortcuts": False}, {"latency": True}, {"architecture": mixed(), "gates": gates}]
    requests = requests_for(*(one for change in alone for one in (change, change)))
    reports = packs.run_all(requests)
    assert [report.state for report in reports] == ["complete"] * 6, [report.detail for report in reports]
    assert pack_sizes == [] and all(report.latency > 0 for report in reports[2:4])
    assert all(report.probabilities for report in reports[4:])


def test_what_needs_no_layer_shares_passes_with_its_like_alone(requests_for, pack_sizes):
    requests = requests_for(Architecture(), lora(), Architecture(), {"seed": 1})
    assert_as_alone(requests, packs.run_all(requests))
    assert pack_sizes == [2, 2]


def test_one_request_is_no_pack(requests_for, pack_sizes):
    (request,) = requests_for(lora())
    assert_as_alone([request], packs.run_all([request]))
    assert pack_sizes == [] and packs.run_all([]) == []


# -- faults


@pytest.mark.parametrize("place", range(3))
def test_an_architecture_that_does_not_fit_fails_by_itself(requests_for, place):
    architectures = [lora(), mixed(), Architecture()]
    architectures.insert(place, Architecture((Placement("lora", "nowhere", 0, 2),)))
    reports = packs.run_all(requests_for(*architectures))
    assert [report.state == "failed" for report in reports] == [at == place for at in range(4)]
    assert "nowhere" in reports[place].detail


def test_a_request_that_cannot_be_read_fails_by_itself(requests_for):
    good, bad = requests_for(lora(), lora())
    bad = bad.model_copy(update={"architecture": {"placements": "many"}})
    assert [report.state for report in packs.run_all([bad, good])] == ["failed", "complete"]


def test_a_mishap_in_one_module_is_the_report_of_its_run(requests_for, monkeypatch):
    forward = Lora.forward

    def explode(self, x, h):
        if self.a.shape[0] == 3:
            raise ZeroDivisionError("a bug")
        return forward(self, x, h)

    monkeypatch.setattr(Lora, "forward", explode)
    requests = requests_for(lora(2), lora(4), lora(3), mixed(), Architecture())
    reports = packs.run_all(requests)
    assert [report.reason for report in reports] == [None, None, "error", None, None]
    assert "ZeroDivisionError: a bug" in reports[2].detail
    assert_as_alone(requests[:2] + requests[3:], reports[:2] + reports[3:])


def test_a_mishap_after_training_is_the_report_of_its_run_and_nothing_is_trained_again(
    requests_for, monkeypatch, pack_sizes
):
    monkeypatch.setattr(reporting, "save", lambda _: 1 / 0)
    reports = packs.run_all(requests_for({"keep_weights": True}, {"seed": 1}, {"seed": 2}))
    assert [report.reason for report in reports] == ["error", None, None] and pack_sizes == [3]


def test_a_run_that_diverges_fails_by_itself(requests_for, pack_sizes):
    wild = {"training": RATES.model_copy(update={"learning_rate": 1e38, "head_learning_rate": 1e38})}
    requests = requests_for(lora(), wild, mixed())
    reports = packs.run_all(requests)
    assert [report.reason for report in reports] == [None, "diverged", None] and pack_sizes == [3]
    assert "the loss is nan" in reports[1].detail
    assert_as_alone([requests[0], requests[2]], [reports[0], reports[2]])


def test_where_memory_does_not_suffice_for_all_smaller_packs_run(requests_for, pack_sizes, fresh_worker):
    requests = requests_for(*[{"seed": seed} for seed in range(4)], keep_weights=True)

    def refuse(module, args, kwargs):
        if torch.is_grad_enabled() and len(kwargs["input_ids"]) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")

    proxy.run(requests[0])
    model = proxy.resident().model(requests[0])
    handle = model.register_forward_pre_hook(refuse, with_kwargs=True)
    reports = packs.run_all(requests)
    handle.remove()
    assert pack_sizes == [4, 2, 2]
    assert_as_alone(requests, reports)


def test_what_a_failed_pack_took_of_their_time_is_not_given_again(requests_for, monkeypatch):
    seen, run = [], proxy.run
    monkeypatch.setattr(proxy, "run", lambda request: seen.append(request.wall_limit) or run(request))
    monkeypatch.setattr(Together, "train", lambda _: 1 / 0)
    reports = packs.run_all(requests_for({"wall_limit": 60.0}, {"wall_limit": 1e-9}, {"wall_limit": None}))
    assert seen[0] < 60.0 and 0 < seen[1] < 60.0 and seen[2] is None
    assert [report.reason for report in reports] == [None, "timeout", None]


def test_each_run_of_a_pack_has_a_deadline_of_its_own(requests_for, pack_sizes):
    reports = packs.run_all(requests_for({"wall_limit": 1e-9}, {"wall_limit": 60.0}))
    assert [report.reason for report in reports] == ["timeout", None] and pack_sizes == [2]
