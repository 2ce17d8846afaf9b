"""How a search ends: with its time, with a cluster that is away, with runs that failed, and how it goes on after."""

import time

import pytest

import autopeft
from autopeft.dispatcher import Dispatcher
from autopeft.errors import Conflict, InvalidInput, NoFeasibleArchitecture, ServiceUnreachable
from autopeft.executors import EXECUTORS, ExecutorKind
from autopeft.messages import TrialReport
from autopeft.settings import Settings
from autopeft.store import Store, Submission
from autopeft.submission import submit_options
from autopeft.winner import make_recipe
from tests.search.conftest import complete

TWO_POINTS = "schema: 1\nsummary: two points\nmodules:\n  lora: {sites: [attention.query], size: [1, 2]}\n"


@pytest.fixture
def small(options, tmp_path):
    """A search of two trials, and of two confirmation runs for what is on the front."""
    path = tmp_path / "two.yaml"
    path.write_text(TWO_POINTS)
    return {**options, "space": str(path), "baselines": False, "runners_up": 0}


def failing_second(reason, detail=""):
    """Return what answers a request, well but for confirmations at the second seed."""

    def answer(request):
        failed = request.key.startswith("confirm") and request.seed == 1
        return TrialReport.failure(request.key, reason, detail) if failed else complete(request)

    return answer


# -- wall time


def test_runs_that_are_under_way_when_the_time_is_over_are_ended_and_nothing_is_confirmed(options, made_up):
    seconds = 4.0  # enough for a busy machine to have asked for all three
    end = time.monotonic() + seconds

    def answer(request):
        if request.key == "trial 0.1":
            return complete(request)
        return TrialReport.failure(request.key, "timeout") if time.monotonic() > end + 0.2 else None

    asked = made_up(answer, slots=3)
    search = autopeft.Search(**{**options, "budget": f"{seconds:.0f}s", "trial_timeout": 60})
    end = time.monotonic() + seconds
    search.run()
    assert (search.record.state, search.record.detail) == ("done", "")
    assert not [request.key for request in asked if request.key.startswith("confirm")]
    ended = [trial for trial in search.trials if trial.reason == "stopped"]
    assert len(ended) == 3 and {trial.detail for trial in ended} == {"the wall-time budget ended"}


def test_a_confirmation_is_cut_by_the_end_of_the_budget_and_is_then_missing_and_not_failed(small, made_up):
    asked = made_up(failing_second("timeout"))
    search = autopeft.Search(**{**small, "budget": "20s"}).run()
    confirmations = [request for request in asked if request.key.startswith("confirm")]
    assert len(confirmations) == 2 and all(request.wall_limit < 20 for request in confirmations)
    store = Store(Settings.from_environment().database_url)
    kept = store.evaluations(search.record, "confirmation")
    assert [(seed, report.state) for (_, seed), report in kept.items()] == [(0, "complete")]
    made_up()
    search.resume("1h")
    assert [row.run_seeds for row in search.front] == [(0, 1)]


def test_a_confirmation_that_takes_its_whole_time_limit_has_failed_and_each_second_is_counted_once(
    small, made_up, monkeypatch
):
    monkeypatch.setattr("autopeft.lease.RENEW_EVERY", 0.02)
    made_up(failing_second("timeout"))
    search = autopeft.Search(**small)
    began = time.monotonic()
    search.run()
    assert 0.0 < search.record.seconds <= time.monotonic() - began
    kept = Store(Settings.from_environment().database_url).evaluations(search.record, "confirmation")
    assert {seed: report.state for (_, seed), report in kept.items()} == {0: "complete", 1: "failed"}


def test_a_wall_time_below_what_is_spent_is_refused(small):
    search = autopeft.Search(**{**small, "budget": "20m"})
    store = Store(Settings.from_environment().database_url)
    store.release(store.claim(search.record.id, "me", 30), "interrupted", 500.0)
    with pytest.raises(Conflict, match="has spent 500 s already; 10 s is less"):
        search.prepare_resume("10s")
    assert search.record.spec.budget == "20m"
    search.prepare_resume("501s")
    assert search.record.spec.budget == "501s"


# -- GPU time


def test_gpu_time_is_wall_time_on_the_gpus_that_the_workers_have(small, made_up):
    seen = []
    made_up(gpus=1.5)
    autopeft.Search(**{**small, "budget": "3gpu-h"}).run(lambda progress: seen.append(progress.seconds_left))
    assert min(seen) > 7190 and max(seen) <= 7200


def test_gpu_time_without_a_gpu_is_refused_before_any_run_and_another_budget_goes_on(small, made_up):
    asked = made_up()
    search = autopeft.Search(**{**small, "budget": "4gpu-h"})
    with pytest.raises(InvalidInput, match="budget = '4gpu-h': GPU time, and no worker has a GPU; resume with trials"):
        search.run()
    assert search.record.state == "failed" and not asked
    with pytest.raises(InvalidInput, match="budget = '5gpu-h': GPU time, and no worker has a GPU"):
        search.resume("5gpu-h")
    assert search.resume("2").record.state == "done" and len(search.trials) == 2


# -- confirmations that failed


def test_a_confirmation_that_failed_is_tried_again_by_the_next_resume_and_counts_for_no_seed(small, made_up):
    asked = made_up(failing_second("error", "it broke"))
    search = autopeft.Search(**small).run()
    confirmed = [request.key for request in asked if request.key.startswith("confirm")]
    assert len(confirmed) == len(set(confirmed)) == 2, "within one run it is not tried again"
    (row,) = search.front
    assert (row.seeds, make_recipe(search.record, row).seeds) == (1, (0,))
    again = made_up()
    search.resume()
    (row,) = search.front
    assert (row.seeds, make_recipe(search.record, row).seeds) == (2, (0, 1))
    assert [request.key for request in again] == [key for key in confirmed if key.endswith(".1")]


# -- nothing but failures


def test_where_all_of_the_first_runs_are_over_a_cap_nothing_is_feasible(options, made_up):
    made_up(lambda request: complete(request, peak_memory=10**9))
    search = autopeft.Search(**{**options, "baselines": False, "caps": {"memory": "1MB"}})
    told = r"the first 5 runs are all over a cap; the last: memory 1 GB, cap 1 MB"
    with pytest.raises(NoFeasibleArchitecture, match=told):
        search.run()
    assert search.record.state == "failed"
    state = Store(Settings.from_environment().database_url).events.latest(search.record.id, "state")
    assert state.body["infeasible"]


# -- a cluster that is away


def away(_):
    raise ServiceUnreachable("no Ray cluster at head:6379: refused")


def test_a_search_whose_cluster_is_away_is_interrupted_and_goes_on_when_it_is_back(small, made_up, monkeypatch):
    search = autopeft.Search(**small)
    monkeypatch.setitem(EXECUTORS._loaded, "inline", ExecutorKind("away", away))
    with pytest.raises(ServiceUnreachable):
        search.run()
    assert (search.record.state, search.record.detail) == ("interrupted", "no Ray cluster at head:6379: refused")
    made_up()
    assert search.resume().record.state == "done"


def test_a_served_search_waits_for_its_cluster_and_keeps_no_other_from_its_turn(small, made_up, monkeypatch):
    monkeypatch.setattr("autopeft.dispatcher.AWAY_SECONDS", 0.01)
    monkeypatch.setattr("autopeft.controller.controller.PAUSE_SECONDS", 60.0)
    made_up()
    monkeypatch.setitem(EXECUTORS._loaded, "ray", ExecutorKind("away", away))
    settings = Settings.from_environment()
    store = Store(settings.database_url)
    plan, facts = submit_options({**small, "executor": "ray"})
    first = store.create(plan.spec, facts, Submission("ada"))
    store.create(plan.spec, facts, Submission("ada"))
    here = store.create(plan.spec.model_copy(update={"executor": "inline"}), facts, Submission("ada"))
    Dispatcher(store, settings).run(until_idle=True)
    assert [record.state for record in store.list()] == ["done", "interrupted", "interrupted"]
    assert {record.attempt for record in store.list()} == {1}, "none was taken again before its pause was over"
    assert store.get(here.id).state == "done"
    monkeypatch.setitem(EXECUTORS._loaded, "ray", EXECUTORS._loaded["inline"])
    store.serve(first.id)  # whoever resumes it need not wait
    Dispatcher(store, settings).run(until_idle=True)
    assert [record.state for record in store.list()] == ["done", "interrupted", "done"]
