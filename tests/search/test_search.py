"""A search as a whole, on a tiny model: what it answers, and that it goes on where it was."""

import json
from collections import Counter

import optuna
import pytest

import autopeft
from autopeft.controller import open_study
from autopeft.controller.shortlist import candidates
from autopeft.errors import Conflict, InvalidInput, NoFeasibleArchitecture, NotFound
from autopeft.pareto import cost_axis, non_dominated
from autopeft.settings import Settings
from autopeft.store import Store
from autopeft.study import Study
from autopeft.submission import make_plan, submit_options
from workers import proxy

BASELINES = 8


def test_search_ends_with_its_budget_baselines_first_and_every_point_of_the_front_confirmed(options):
    search = autopeft.Search(**options).run()
    trials, answer = search.trials, search.answer
    assert len(trials) == 12 and all(t.state == "complete" for t in trials)
    assert [bool(t.name) for t in trials] == [True] * BASELINES + [False] * 4
    assert trials[0].name == "head only" and trials[0].params == 0
    assert search.record.state == "done" and answer.confirmed
    confirmed = {row.trial for row in (*answer.front, *answer.baselines, *answer.others) if row.confirmed}
    assert confirmed == {t.number for t in candidates(trials, search.record.spec.runners_up)}
    assert all(row.seeds == 2 and row.confirmed for row in (*answer.front, *answer.baselines))
    assert all(row.score_std is not None for row in answer.front)


def test_a_policy_has_the_scores_that_it_needs(options):
    proxy = {**options["proxy"], "epochs": 5, "rungs": [0.4]}
    search = autopeft.Search(**{**options, "policy": "one_epoch", "proxy": proxy, "confirm": 0}).run()
    assert search.record.spec.proxy.rungs == (0.2, 0.4)
    assert all(trial.score_at(0.2) is not None for trial in search.trials if trial.state == "complete")
    assert any(trial.state == "pruned" and trial.share == pytest.approx(0.2) for trial in search.trials)


def test_the_longest_runs_are_confirmed_first(options):
    search = autopeft.Search(**options).run()
    took = {trial.architecture.fingerprint: trial.seconds for trial in search.trials}
    store = Store(Settings.from_environment().database_url)
    confirmed = [one for one in store.all_evaluations(search.record.id) if "validation" in one.report.scores]
    order = [-took[one.decoded.fingerprint] for one in confirmed if one.seed == 0]
    assert len(order) > 8 and order == sorted(order)
    assert [one.seed for one in confirmed[: len(order)]] == [0] * len(order)


def test_a_runner_up_that_falls_short_takes_one_run(options):
    search = autopeft.Search(**{**options, "runners_up": 2}).run()
    trials, answer = search.trials, search.answer
    rows = {row.trial: row for row in (*answer.front, *answer.baselines, *answer.others) if row.confirmed}
    sure, chosen = ({trial.number for trial in candidates(trials, n)} for n in (0, 2))
    assert set(rows) == chosen and len(chosen - sure) == 2
    assert {rows[number].seeds for number in chosen - sure} <= {1, 2}
    again = autopeft.Search(**{**options, "runners_up": 0}).run()
    assert {row.trial for row in again.answer.others if row.confirmed} <= {
        t.number for t in candidates(again.trials, 0)
    }


def test_front_is_non_dominated_and_no_baseline_beats_it(options):
    answer = autopeft.Search(**options).run().answer
    points = [row.point for row in answer.front]
    assert [points[i] for i in non_dominated(points)] == points
    for row in answer.front:
        for other in answer.baselines:
            assert not (other.params <= row.params and other.score >= row.score and other.point != row.point)
    assert answer.hypervolume >= answer.baseline_hypervolume


def test_no_architecture_is_trained_twice(options):
    search = autopeft.Search(**{**options, "budget": "40", "confirm": 0, "sampler": "tpe"}).run()
    assert max(Counter(t.architecture.fingerprint for t in search.trials).values()) == 1


def test_the_same_seed_gives_the_same_search_and_another_does_not(options):
    def trials(seed):
        search = autopeft.Search(**{**options, "seed": seed, "confirm": 0}).run()
        return [(t.architecture, t.score) for t in search.trials]

    first = trials(0)
    assert first == trials(0)
    assert first != trials(1)


def test_every_architecture_is_trained_at_a_seed_of_its_own_that_follows_from_the_searchs(options):
    search = autopeft.Search(**{**options, "confirm": 0}).run()
    found = Store(Settings.from_environment().database_url).all_evaluations(search.record.id)
    seeds = {one.decoded: one.seed for one in found}
    assert len(seeds) == len(search.trials) == len(set(seeds.values()))
    assert seeds == {architecture: search.record.spec.proxy_seed(architecture) for architecture in seeds}
    other = search.record.spec.model_copy(update={"seed": 1})
    assert not set(seeds.values()) & {other.proxy_seed(architecture) for architecture in seeds}


@pytest.mark.parametrize("sampler", ["gp", "nsga2", "random", "tpe"])
def test_every_sampler_searches_and_resumes(options, sampler):
    search = autopeft.Search(**{**options, "sampler": sampler, "budget": "20", "confirm": 0}).run()
    assert len(search.trials) == 20
    search.resume("+2")
    assert len(search.trials) == 22 and search.record.state == "done"


def test_a_finished_search_resumed_without_more_budget_trains_nothing(options):
    search = autopeft.Search(**options).run()
    before = search.answer
    assert autopeft.Search.load(search.record.name).resume().answer == before


def test_a_cap_keeps_larger_architectures_out_before_training(options):
    search = autopeft.Search(**{**options, "max_params": "600", "confirm": 0}).run()
    assert len(search.trials) == 12
    assert all(t.params <= 600 for t in search.trials)


def test_a_cap_that_nothing_meets_is_refused_at_submission_with_the_smallest_there_is(options):
    with pytest.raises(InvalidInput, match="the smallest architecture of 'autopeft' has 128"):
        autopeft.Search(**{**options, "max_params": "127"})


def test_a_space_that_is_used_up_ends_the_search(options, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text("schema: 1\nsummary: two points\nmodules:\n  lora: {sites: [attention.query], size: [1, 2]}\n")
    search = autopeft.Search(**{**options, "space": str(path), "baselines": False, "budget": "9"}).run()
    assert [t.params for t in sorted(search.trials, key=lambda t: t.params)] == [256, 512]
    assert search.record.state == "done"


def test_drained_search_finishes_the_run_under_way_and_resumes(options):
    search = autopeft.Search(**options)

    def after_three(progress):
        if progress.done == 3:
            controller.drain()

    controller = search.controller(after_three)
    assert controller.run().state == "interrupted"
    assert len(search.trials) == 3
    search.run()
    assert len(search.trials) == 12 and search.record.state == "done"


def test_drained_confirmation_goes_on_with_the_runs_that_are_missing(options):
    search = autopeft.Search(**options)
    seen = []

    def in_confirmation(progress):
        if progress.phase == "confirm":
            seen.append(progress.done)
            if progress.done == 5:
                controller.drain()

    controller = search.controller(in_confirmation)
    assert controller.run().state == "interrupted" and seen[-1] == 5
    seen.clear()
    search.run(lambda p: seen.append(p.done) if p.phase == "confirm" else None)
    assert seen[0] == 6 and search.record.state == "done"


def test_cancelled_search_keeps_what_it_has(options):
    search = autopeft.Search(**options)
    search.controller(lambda p: search.cancel() if p.done == 4 else None).run()
    assert search.record.state == "cancelled"
    assert len([t for t in search.trials if t.state == "complete"]) == 4


def test_wall_time_is_a_hard_stop_that_leaves_an_answer(options):
    search = autopeft.Search(**{**options, "budget": "6s", "space": "lora", "confirm": 1}).run()
    assert search.record.state == "done"
    assert len(search.trials) < 1000 and search.record.seconds < 60
    assert search.front


def test_a_folder_of_the_name_of_a_built_in_task_is_not_taken_for_it(options, tmp_path, monkeypatch):
    (tmp_path / "docstrings").mkdir()
    monkeypatch.chdir(tmp_path)
    plan, facts = submit_options({**options, "task": "docstrings"})
    assert plan.spec.task.name == "docstrings" and facts["rows"]["train"] == 2048


def test_diverging_trials_fail_with_their_reason_and_never_reach_the_front(options):
    training = {"learning_rate": 1e38, "head_learning_rate": 1e38}
    with pytest.raises(autopeft.AutopeftError, match="the first 5 runs all failed"):
        autopeft.Search(**{**options, "training": training}).run()
    search = autopeft.Search.load(Store(Settings.from_environment().database_url).list()[0].name)
    assert {t.reason for t in search.trials if t.state == "failed"} == {"diverged"}
    assert search.front == () and search.record.state == "failed"


def test_two_controllers_never_own_one_search(options):
    search = autopeft.Search(**options)
    controller = search.controller()
    with pytest.raises(Conflict, match="being worked on"):
        search.run()
    controller._lease.stop()


def test_names_are_unique_and_unknown_ones_are_named(options):
    autopeft.Search(**{**options, "name": "mine"})
    with pytest.raises(Conflict, match="'mine' exists already"):
        autopeft.Search(**{**options, "name": "mine"})
    with pytest.raises(NotFound, match="no search named 'yours'; there are: mine"):
        autopeft.Search.load("yours")


def test_budget_below_what_is_done_is_refused(options):
    search = autopeft.Search(**{**options, "confirm": 0}).run()
    with pytest.raises(Conflict, match="has 12 finished trials already; 5 is fewer"):
        search.resume("5")
    with pytest.raises(InvalidInput, match="add the same unit"):
        search.resume("+5m")


def test_picks(options):
    answer = autopeft.Search(**options).run().answer
    with_modules = [row for row in answer.front if row.params]
    if with_modules:
        assert answer.pick("best") == max(with_modules, key=lambda r: r.score)
        assert answer.pick("smallest") == with_modules[0]
        assert answer.pick("knee") in with_modules
        assert answer.pick(f"params<={with_modules[0].params}") == with_modules[0]
        with pytest.raises(NoFeasibleArchitecture):
            answer.pick("params<=1")
    assert answer.pick("3").trial == 3
    with pytest.raises(InvalidInput, match="use best, knee, smallest"):
        answer.pick("finest")
    with pytest.raises(NotFound, match="no finished trial 99"):
        answer.pick("99")


def test_dashboard_attributes_are_readable(options):
    search = autopeft.Search(**{**options, "confirm": 0}).run()
    study = optuna.load_study(study_name=search.record.name, storage=Settings.from_environment().database_url)
    assert study.metric_names == ["params", "accuracy"]
    last = study.trials[-1]
    assert set(last.params) == {
        "serial_adapter.size",
        "parallel_adapter.size",
        "prefix.size",
        "layers.00",
        "layers.01",
    }
    assert {"fingerprint", "params", "seconds", "architecture", "summary"} <= set(last.user_attrs)
    assert json.loads(last.user_attrs["architecture"])["placements"]
    assert last.values[0] == last.user_attrs["params"]


def test_orphan_of_a_lost_controller_is_run_again_at_most_twice(options):
    search = autopeft.Search(**{**options, "confirm": 0})
    plan = make_plan(search.record.spec)
    study = open_study(plan, search.record, Settings.from_environment())
    name, (architecture, params) = next(iter(plan.baselines.items()))
    lost = study.start_given(architecture, params, plan.base_parameters, name)
    study.restart(lost)
    study.restart(type(lost)(**{**lost.__dict__, "attempts": 2}))
    search.run()
    trials = search.trials
    assert trials[0].state == "failed" and trials[0].reason == "controller_lost"
    assert len(trials) == 12


def test_trial_asked_for_but_not_recorded_is_failed_and_not_counted(options):
    search = autopeft.Search(**{**options, "confirm": 0})
    open_study(make_plan(search.record.spec), search.record, Settings.from_environment())._record.ask()
    search.run()
    assert len(search.trials) == 12


def test_evaluation_that_was_stored_but_not_told_is_not_trained_again(options, monkeypatch):
    search = autopeft.Search(**{**options, "confirm": 0})
    told = []

    class Killed(BaseException):
        pass

    tell = Study.tell

    def die_at_third(self, number, report, score):
        told.append(number)
        if len(told) == 3:
            raise Killed
        return tell(self, number, report, score)

    monkeypatch.setattr(Study, "tell", die_at_third)
    with pytest.raises(Killed):
        search.run()
    monkeypatch.setattr(Study, "tell", tell)
    trained = []
    run = proxy.run
    monkeypatch.setattr(proxy, "run", lambda request: trained.append(request.key) or run(request))
    search.run()
    assert "trial 2.1" not in trained and "trial 2.2" not in trained
    assert len(search.trials) == 12


def test_cost_axis_puts_head_only_at_zero():
    assert cost_axis(0) == 0.0
