"""Searches whose workers train several trials in one pass, with both executors that train."""

import os
import signal
import time

import pytest

import autopeft
from autopeft.architecture import Architecture, Placement
from autopeft.controller.controller import _most_packed
from autopeft.executors import ExecutorOptions
from autopeft.executors.inline import InlineExecutor
from autopeft.executors.placement import GpuNeed, Machine
from autopeft.executors.ray import RayExecutor
from autopeft.messages import Fidelity
from autopeft.submission import submit_options
from tests.search.test_ray import collect, pids, request


@pytest.fixture
def ray_executor():
    started = RayExecutor(ExecutorOptions(workers=1, pack=3))
    yield started
    started.close()


def test_a_search_with_packs_gives_the_scores_that_it_gives_without(options, pack_sizes):
    def scores(pack):
        search = autopeft.Search(**{**options, "precision": "float32", "confirm": 1, "pack": pack}).run()
        return {t.architecture.fingerprint: (t.score, t.params, t.state) for t in search.trials}

    alone = scores(1)
    assert pack_sizes == []
    assert scores(4) == alone and max(pack_sizes) == 4


def test_a_search_asks_for_no_more_trials_than_its_budget(options):
    search = autopeft.Search(**{**options, "budget": "10", "pack": 4, "confirm": 0}).run()
    assert len(search.trials) == 10


def test_the_last_pack_is_what_there_is(tiny_model, tiny_task, home, pack_sizes):
    executor = InlineExecutor(pack=3)
    for seed in range(5):
        executor.submit(request(tiny_model, tiny_task, f"r{seed}", seed=seed))
    packs = [[report.key for report in executor.wait(0.0)] for _ in range(3)]
    assert packs == [["r0", "r1", "r2"], ["r3", "r4"], []] and pack_sizes == [3, 2]


def test_a_pack_that_is_to_fit_holds_one_run_on_a_cpu(tiny_model, tiny_task, home, options, pack_sizes):
    autopeft.Search(**{**options, "budget": "10", "pack": "auto", "confirm": 0}).run()
    assert pack_sizes == []


@pytest.mark.slow
def test_packs_that_are_to_fit_are_sized_by_the_memory_of_the_gpus(monkeypatch, home):
    """The GPUs are made up; nothing runs on them."""
    monkeypatch.setattr("autopeft.executors.ray._lending", lambda: [Machine("here", cpus=2, gpus=2)])
    monkeypatch.setattr("autopeft.executors.ray.least_gpu_bytes", lambda among: 10**10)
    monkeypatch.setattr("autopeft.executors.ray.RayExecutor._new_actor", lambda self, place: object())
    sizes = {}
    for run in (10**9, 10**10):
        executor = RayExecutor(ExecutorOptions(workers=2, need=GpuNeed(base=4 * 10**9, run=run), pack=16, fit=True))
        sizes[run] = [(slot.pack, slot.place.gpus) for slot in executor._slots], executor.slots
        executor._slots.clear()
        executor.close()
    assert sizes == {10**9: ([(6, 1.0)] * 2, 12), 10**10: ([(1, 1.0)] * 2, 2)}


@pytest.mark.parametrize(("budget", "workers", "most"), [("40", 2, 2), ("40", 1, 5), ("8", 8, 1), ("1h", 2, 16)])
def test_packs_that_are_to_fit_leave_most_trials_to_be_chosen_by_what_others_came_to(options, budget, workers, most):
    plan, _ = submit_options({**options, "budget": budget, "workers": workers, "pack": "auto"})
    assert _most_packed(plan) == most


@pytest.mark.slow
def test_every_request_of_a_pack_is_reported_once_by_ray(ray_executor, tiny_model, tiny_task, home):
    assert ray_executor.slots == 3
    misfit = Architecture((Placement("lora", "nowhere", 0, 2),)).to_dict()
    for seed in range(5):
        changes = {"architecture": misfit} if seed == 1 else {"keep_weights": True}
        ray_executor.submit(request(tiny_model, tiny_task, f"r{seed}", seed=seed, **changes))
    reports = collect(ray_executor, 5)
    assert [reports[f"r{seed}"].state == "complete" for seed in range(5)] == [True, False, True, True, True]
    assert len({report.weights for report in reports.values() if report.weights}) == 4


@pytest.mark.slow
def test_a_lost_workers_pack_is_run_again_one_by_one(ray_executor, tiny_model, tiny_task, home):
    (process,) = pids(ray_executor)
    long = {"fidelity": Fidelity(rows=64, epochs=30), "wall_limit": None}
    for seed in range(3):
        ray_executor.submit(request(tiny_model, tiny_task, f"r{seed}", seed=seed, **long))
    assert len(ray_executor._slots[0].requests) == 3
    time.sleep(0.3)
    os.kill(process, signal.SIGKILL)
    reports = {report.key: report for report in ray_executor.wait(120.0)}
    assert len(reports) == 1 and len(ray_executor._slots[0].requests) == 1
    reports |= collect(ray_executor, 2, seconds=240.0)
    assert {report.state for report in reports.values()} == {"complete"} and len(reports) == 3
