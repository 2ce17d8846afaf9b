"""A request in, a report out, and what stays in the worker in between."""

import math
import shutil

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings
from autopeft.tasks import load_task
from tests.search.conftest import make_task
from tests.workers.conftest import lora
from workers import devices, evaluation, proxy, reporting, residency, training


def test_a_report_is_complete(request_for):
    report = proxy.run(request_for(parts=("holdout", "validation", "test"), keep_weights=True))
    assert (report.key, report.state, report.reason, report.detail) == ("trial 1", "complete", None, "")
    assert set(report.scores) == set(report.metrics) == {"holdout", "validation", "test"}
    assert all(set(values) == {"accuracy", "macro_f1", "matthews"} for values in report.metrics.values())
    assert report.scores["holdout"] == report.metrics["holdout"]["accuracy"] == max(s for _, s in report.curve)
    assert report.params == 2 * 2 * 4 * (64 + 64) and report.head_params == 64 * 2 + 2
    assert report.steps == 8 and [step for step, _ in report.curve] == [4, 8]
    assert report.best_step == next(step for step, score in report.curve if score == report.scores["holdout"])
    assert 0 < report.busy_seconds <= report.seconds and report.peak_memory > 1e6
    assert report.device.startswith("cpu (") and report.device.endswith(", float32)")
    weights = load(report.weights)
    assert sum(t.numel() for name, t in weights.items() if name.startswith("modules.")) == report.params
    assert sum(t.numel() for name, t in weights.items() if name.startswith("head.")) == report.head_params


def test_weights_are_left_out_unless_asked_for(request_for):
    assert proxy.run(request_for()).weights is None


def alike(report):
    return report.scores, report.metrics, report.curve, report.best_step, report.params


def test_the_same_request_gives_the_same_report_and_another_seed_another(request_for):
    first, again, other = (proxy.run(request_for(seed=seed, keep_weights=True)) for seed in (0, 0, 1))
    assert alike(first) == alike(again) and first.weights == again.weights
    assert first.weights != other.weights


def test_rows_that_changed_are_read_again_and_no_run_is_given_others_than_it_is_for(
    request_for, tmp_path, monkeypatch
):
    task = TaskSpec(name=str(make_task(tmp_path / "rows.csv")))
    before = load_task(task).fingerprint
    first = proxy.run(request_for(task=task, task_hash=before, keep_weights=True))
    make_task(tmp_path / "rows.csv", seed=1)
    again = proxy.run(request_for(task=task, task_hash=before, keep_weights=True))
    assert again.weights == first.weights  # the rows are still at hand
    after = load_task(task).fingerprint
    second = proxy.run(request_for(task=task, task_hash=after, keep_weights=True))
    assert second.state == "complete" and second.weights != first.weights
    monkeypatch.setattr(proxy, "_residency", None)
    late = proxy.run(request_for(task=task, task_hash=before))
    assert late.state == "failed" and "its rows have changed since the search was submitted" in late.detail


def test_weights_that_changed_are_read_again_and_no_run_is_given_others_than_it_is_for(
    request_for, model_folder, tmp_path
):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    before = describe_model(str(folder)).fingerprint
    first = proxy.run(request_for(model=str(folder), model_hash=before, keep_weights=True))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.flip(-1) for name, tensor in tensors.items()}, folder / "model.safetensors")
    after = describe_model(str(folder)).fingerprint
    assert after != before
    second = proxy.run(request_for(model=str(folder), model_hash=after, keep_weights=True))
    assert second.state == "complete" and second.weights != first.weights
    late = proxy.run(request_for(model=str(folder), model_hash=before))
    assert late.state == "failed" and f"this was made for {before}" in late.detail


def test_it_learns(request_for):
    settings = TrainingSettings(batch_size=16, learning_rate=1e-2, head_learning_rate=3e-2)
    report = proxy.run(request_for(fidelity=Fidelity(epochs=10, evaluations=5), training=settings))
    assert report.scores["holdout"] > 0.7


def test_a_regression_reports_how_to_read_its_outputs(request_for, numbers):
    reports = [proxy.run(request_for(task=numbers(factor, shift))) for factor, shift in ((1, 0), (100, -7))]
    assert set(reports[0].metrics["holdout"]) == {"pearson", "spearman", "pearson_spearman"}
    assert reports[1].center == pytest.approx(100 * reports[0].center - 7, rel=1e-5)
    assert reports[1].scale == pytest.approx(100 * reports[0].scale, rel=1e-5)
    assert reports[1].scores["holdout"] == pytest.approx(reports[0].scores["holdout"], abs=1e-3)


def test_bfloat16_on_a_cpu(request_for):
    report = proxy.run(request_for(precision="bfloat16", architecture=everything()))
    assert report.state == "complete", report.detail
    assert report.device.endswith(", bfloat16)") and math.isfinite(report.scores["holdout"])


def everything():
    """A module type at each kind of site."""
    return Architecture(
        tuple(
            Placement(module, site, layer, size)
            for layer in (0, 1)
            for module, site, size in [
                ("lora", "attention.query", 2),
                ("prefix", "attention.kv", 2),
                ("serial_adapter", "ffn", 2),
                ("parallel_adapter", "attention", 2),
                ("ia3", "ffn.hidden", 0),
                ("bitfit", "ffn.in", 0),
                ("layer_norm", "norm.ffn", 0),
            ]
        )
    )


# -- failures


def failed(report, reason):
    assert (report.state, report.reason, report.scores) == ("failed", reason, {})
    assert report.key == "trial 1" and report.seconds > 0
    return report.detail


def test_a_run_past_its_wall_limit_is_a_timeout(request_for):
    assert "the wall limit passed at step 1 of 8" in failed(proxy.run(request_for(wall_limit=1e-9)), "timeout")


def test_a_rate_out_of_all_reason_diverges(request_for):
    wild = lora(training=(("learning_rate", 1e38), ("head_learning_rate", 1e38)))
    failed(proxy.run(request_for(wild)), "diverged")


@pytest.mark.parametrize("part", ["holdout", "validation"])
def test_outputs_that_are_not_finite_on_any_part_diverge(request_for, monkeypatch, part):
    predict = evaluation.predict_logits
    calls = []

    def spoil(model, split, *rest, **named):
        calls.append(len(split))
        logits = predict(model, split, *rest, **named).clone()
        if (len(calls) > 2) == (part == "validation"):  # two evaluations, then the parts
            logits[0, 0] = math.inf
        return logits

    monkeypatch.setattr(evaluation, "predict_logits", spoil)
    detail = failed(proxy.run(request_for(parts=("validation",))), "diverged")
    assert "score is nan" in detail and (part == "holdout" or "the validation score" in detail)


def test_memory_that_runs_out_anywhere_is_out_of_memory(request_for, monkeypatch):
    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(proxy, "score_split", refuse)
    assert failed(proxy.run(request_for()), "out_of_memory") == "CUDA out of memory"
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")):
        assert devices.ran_out_of_memory(error)
    assert not devices.ran_out_of_memory(ValueError("can't allocate memory"))


def explode(*_, **__):
    raise ZeroDivisionError("a bug")


MISHAPS = {
    "in a step": (training.Loop, "step"),
    "in an evaluation": (proxy, "score_split"),
    "while saving": (reporting, "save"),
}


@pytest.mark.parametrize("where", MISHAPS)
def test_a_mishap_in_a_trial_is_its_report_and_the_next_trial_is_as_if_nothing_was(request_for, monkeypatch, where):
    request = request_for(everything())
    before = proxy.run(request)
    with monkeypatch.context() as patch:
        patch.setattr(*MISHAPS[where], explode)
        report = proxy.run(request.model_copy(update={"keep_weights": True}))
    assert "ZeroDivisionError: a bug" in failed(report, "error")
    assert alike(proxy.run(request)) == alike(before)


def test_a_model_that_fails_while_modules_are_attached_is_left_clean(request_for, monkeypatch):
    request = request_for(everything())
    before = proxy.run(request)
    model = proxy._residency._model
    with monkeypatch.context() as patch:
        patch.setattr(model.base_model, "get_submodule", explode_at(8, model.base_model.get_submodule))
        assert "a bug" in failed(proxy.run(request), "error")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert alike(proxy.run(request)) == alike(before)


def explode_at(number, function):
    calls = []

    def count(*arguments):
        calls.append(1)
        return explode() if len(calls) == number else function(*arguments)

    return count


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": Architecture((Placement("lora", "attention.quary", 0, 4),))}, "attention.quary"),
        ({"model": "/no/such/folder"}, "no such folder"),
        ({"task": TaskSpec(name="/no/such/file.csv")}, "file.csv"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_a_report(request_for, changes, told):
    assert told in failed(proxy.run(request_for(**changes)), "error")


# -- what stays


@pytest.fixture
def loads(monkeypatch, fresh_worker):
    """What was loaded, in order."""
    seen = []

    def watch(name):
        original = getattr(residency, name)

        def load(*arguments):
            seen.append((name, arguments))
            return original(*arguments)

        monkeypatch.setattr(residency, name, load)

    for name in ("load_model", "load_task", "encode_task"):
        watch(name)
    return seen


def names(loads):
    return [name for name, _ in loads]


def test_model_and_task_are_loaded_once_for_many_trials(request_for, loads):
    for size, seed in ((1, 0), (2, 0), (2, 1)):
        assert proxy.run(request_for(lora(size), seed=seed)).state == "complete"
    assert sorted(names(loads)) == ["encode_task", "load_model", "load_task"]


def test_another_precision_quantisation_or_model_replaces_the_one_at_hand(request_for, loads, model_folder, tmp_path):
    proxy.run(request_for())
    proxy.run(request_for(precision="bfloat16"))
    (tmp_path / "other").symlink_to(model_folder)
    proxy.run(request_for(model=str(tmp_path / "other")))
    proxy.run(request_for())
    assert names(loads).count("load_model") == 4
    assert names(loads).count("load_task") == 1
    assert names(loads).count("encode_task") == 2


def test_tasks_stay_side_by_side_and_one_with_another_head_replaces_the_model(request_for, loads, numbers):
    regression = numbers()
    for task in (None, regression, None, regression):
        proxy.run(request_for(**({} if task is None else {"task": task})))
    assert names(loads).count("load_task") == names(loads).count("encode_task") == 2
    assert names(loads).count("load_model") == 4


def test_a_load_that_failed_is_tried_again(request_for, loads, monkeypatch):
    load = residency.load_model
    monkeypatch.setattr(residency, "load_model", explode)
    assert "a bug" in failed(proxy.run(request_for()), "error")
    monkeypatch.setattr(residency, "load_model", load)
    assert proxy.run(request_for()).state == "complete"


# -- devices


def test_auto_takes_bfloat16_only_where_the_hardware_multiplies_it_faster(monkeypatch):
    cpu = torch.device("cpu")
    for capabilities, dtype in (
        ({}, torch.float32),
        ({"avx512_bf16": True}, torch.float32),
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert devices.pick_dtype("auto", cpu) == dtype
    assert devices.pick_dtype("float32", cpu) == torch.float32
    assert devices.pick_dtype("bfloat16", cpu) == torch.bfloat16


def test_settings_that_the_architecture_brings_are_trained_with(request_for):
    plain = request_for(training=TrainingSettings(batch_size=16), fidelity=Fidelity(rows=64, epochs=2, evaluations=1))
    architecture = plain.decoded
    changed = Architecture(architecture.placements, (("batch_size", 8), ("epochs", 3.0)))
    report = proxy.run(plain.model_copy(update={"architecture": changed.to_dict()}))
    assert (proxy.run(plain).steps, report.steps) == (2 * 64 // 16, 3 * 64 // 8)
