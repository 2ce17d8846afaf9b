"""The Ray executor with real actors: lost workers, hung workers, and the same answer as inline."""

import os
import signal
import time

import pytest
import ray

import autopeft
from autopeft.architecture import Architecture, Placement
from autopeft.executors import ExecutorOptions
from autopeft.executors import ray as ray_executor
from autopeft.messages import Fidelity, TaskSpec, TrialRequest

pytestmark = pytest.mark.slow


@pytest.fixture
def executor():
    started = ray_executor.RayExecutor(ExecutorOptions(workers=2))
    yield started
    started.close()


def request(tiny_model, tiny_task, key, **more):
    architecture = Architecture((Placement("lora", "attention.query", 0, 2),))
    fidelity = Fidelity(rows=64, epochs=1, evaluations=1, held_out_rows=32)
    fields = {
        "key": key,
        "model": str(tiny_model),
        "task": TaskSpec(name=str(tiny_task)),
        "architecture": architecture.to_dict(),
        "fidelity": fidelity,
        "wall_limit": 120.0,
    }
    return TrialRequest(**{**fields, **more})


def collect(executor, count, seconds=120.0):
    reports, until = {}, time.monotonic() + seconds
    while len(reports) < count and time.monotonic() < until:
        for report in executor.wait(1.0):
            assert report.key not in reports, "a report came twice"
            reports[report.key] = report
    return reports


def pids(executor):
    return [ray.get(slot.actor.pid.remote()) for slot in executor._slots]


def test_every_request_is_reported_once_with_weights(executor, tiny_model, tiny_task, home):
    for i in range(6):
        executor.submit(request(tiny_model, tiny_task, f"r{i}", keep_weights=True))
    reports = collect(executor, 6)
    assert {r.state for r in reports.values()} == {"complete"}
    assert len({r.scores["holdout"] for r in reports.values()}) == 1
    assert all(r.weights for r in reports.values())


def test_a_process_that_finishes_its_runs_on_sigterm_still_does_on_ray(home):
    asked = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append("to end"))
    try:
        started = ray_executor.RayExecutor(ExecutorOptions(workers=1))
        signal.raise_signal(signal.SIGTERM)
        started.close()
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(asked) == 2


def test_a_killed_workers_request_is_run_again(executor, tiny_model, tiny_task, home, monkeypatch):
    lost, lose = [], executor._lost

    def note(slot, detail):
        lost.extend(one.key for one in slot.requests)
        return lose(slot, detail)

    monkeypatch.setattr(executor, "_lost", note)
    processes = pids(executor)
    # Long enough to be hit, on both workers.
    for i in range(2):
        long = request(tiny_model, tiny_task, f"r{i}", fidelity=Fidelity(rows=64, epochs=50), wall_limit=None)
        executor.submit(long)
    time.sleep(0.3)
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    reports = collect(executor, 2, seconds=240.0)
    assert {r.state for r in reports.values()} == {"complete"}, reports
    assert sorted(lost) == ["r0", "r1"]


def test_a_request_that_loses_its_worker_three_times_fails_with_that_reason(
    executor, tiny_model, tiny_task, home, monkeypatch
):
    class Dying:
        def __init__(self, threads):
            pass

        def run(self, request):
            os._exit(1)

    monkeypatch.setattr(ray_executor, "_Worker", Dying)
    for slot in executor._slots:
        ray.kill(slot.actor)
        slot.actor = executor._new_actor(slot.place)
    executor.submit(request(tiny_model, tiny_task, "doomed"))
    report = collect(executor, 1)["doomed"]
    assert report.state == "failed" and report.reason == "worker_lost" and "3 times" in report.detail


def test_a_hung_worker_is_ended_at_its_limit_and_replaced(executor, tiny_model, tiny_task, home, monkeypatch):
    class Hanging:
        def __init__(self, threads):
            pass

        def run(self, request):
            time.sleep(1000)

        def pid(self):
            return os.getpid()

    monkeypatch.setattr(ray_executor, "GRACE_SECONDS", 1.0)
    worker = ray_executor._Worker
    monkeypatch.setattr(ray_executor, "_Worker", Hanging)
    for slot in executor._slots:
        ray.kill(slot.actor)
        slot.actor = executor._new_actor(slot.place)
    hung = set(pids(executor))
    monkeypatch.setattr(ray_executor, "_Worker", worker)
    executor.submit(request(tiny_model, tiny_task, "hung", wall_limit=1.0))
    report = collect(executor, 1)["hung"]
    assert report.reason == "timeout"
    assert len(hung & set(pids(executor))) == 1
    executor.submit(request(tiny_model, tiny_task, "next"))
    executor.submit(request(tiny_model, tiny_task, "after"))


def test_a_search_on_ray_gives_the_scores_that_it_gives_inline(options):
    def scores(executor):
        search = autopeft.Search(**{**options, "executor": executor, "sampler": "random"}).run()
        return {t.architecture.fingerprint: (t.score, t.state) for t in search.trials}

    assert scores("ray") == scores("inline")


def test_no_cluster_at_the_address_is_said_plainly(monkeypatch, options):
    monkeypatch.setenv("AUTOPEFT_RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(autopeft.AutopeftError, match="no Ray cluster at 127.0.0.1:1"):
        autopeft.Search(**{**options, "executor": "ray"}).run()
