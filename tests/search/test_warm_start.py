"""What a search takes over from earlier ones: runs, evidence, fronts."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import autopeft
from autopeft.controller import Controller
from autopeft.errors import InvalidInput, NotFound
from autopeft.evaluation import read_evaluations, write_evaluations
from autopeft.lease import Lease
from autopeft.messages import Bar
from autopeft.settings import Settings
from autopeft.store import Store
from autopeft.submission import make_plan
from tests.search.conftest import make_model, make_task
from workers import proxy


@pytest.fixture
def trained(monkeypatch):
    """The requests that were really trained."""
    requests, run = [], proxy.run
    monkeypatch.setattr(proxy, "run", lambda request: requests.append(request) or run(request))
    return requests


def points(search):
    return [(t.architecture, t.score, t.params) for t in search.trials]


def test_the_same_search_again_trains_nothing_and_says_whose_runs_it_takes(options, trained):
    first = autopeft.Search(**{**options, "warm_start": "same"}).run()
    count = len(trained)
    again = autopeft.Search(**{**options, "warm_start": "same"}).run()
    assert len(trained) == count
    assert points(again) == points(first)
    assert {t.source for t in first.trials} == {""} and {t.source for t in again.trials} == {first.record.id}
    assert [row.score for row in again.front] == [row.score for row in first.front]
    kept = [first.weights(row) for row in first.front]
    assert [again.weights(row).read_bytes() for row in again.front] == [path.read_bytes() for path in kept]


def test_runs_taken_over_keep_the_name_of_the_search_that_made_them(options):
    names = []
    for _ in range(3):
        search = autopeft.Search(**{**options, "warm_start": "same", "confirm": 0}).run()
        names.append(search.record.id)
    assert {t.source for t in search.trials} == {names[0]}


@pytest.mark.parametrize(
    "change",
    [
        {"warm_start": "none"},
        {"seed": 1},
        {"task": {"metric": "macro_f1"}},
        {"task": {"max_length": 6}},
        {"training": {"weight_decay": 0.5}},
        {"precision": "bfloat16"},
        {"proxy": {"rows": 32}},
    ],
)
def test_what_would_come_out_otherwise_is_trained(options, trained, change):
    first = {**options, "warm_start": "same", "confirm": 0, "budget": 8, "precision": "float32"}
    autopeft.Search(**first).run()
    count = len(trained)
    merged = {
        key: {**first[key], **value} if isinstance(first.get(key), dict) else value for key, value in change.items()
    }
    again = autopeft.Search(**{**first, **merged}).run()
    assert len(trained) - count == 8
    assert {t.source for t in again.trials} == {""}


def test_data_that_changed_under_its_name_is_new_data(options, trained, tmp_path):
    path = make_task(tmp_path / "mine.csv")
    mine = {**options, "warm_start": "same", "confirm": 0, "budget": 8, "task": {"name": str(path)}}
    autopeft.Search(**mine).run()
    make_task(path, seed=5)
    count = len(trained)
    autopeft.Search(**mine).run()
    assert len(trained) == count + 8


def test_a_confirmation_whose_weights_are_gone_is_run_again(options, trained):
    first = autopeft.Search(**{**options, "warm_start": "same", "confirm": 1}).run()
    for path in Settings.from_environment().artifacts.glob(f"{first.record.id}/*.safetensors"):
        path.unlink()
    count = len(trained)
    again = autopeft.Search(**{**options, "warm_start": "same", "confirm": 1}).run()
    assert len(trained) > count
    assert all(again.weights(row) for row in again.front)


def test_a_failed_run_is_run_again(options, monkeypatch):
    failing, run = {"on": True}, proxy.run

    def sometimes(request):
        report = run(request)
        return report.failure(request.key, "error", "made to") if failing["on"] and "3.1" in request.key else report

    monkeypatch.setattr(proxy, "run", sometimes)
    ask = {**options, "warm_start": "same", "confirm": 0, "budget": 8}
    first = autopeft.Search(**ask).run()
    assert [t.state for t in first.trials].count("failed") == 1
    failing["on"] = False
    again = autopeft.Search(**ask).run()
    assert {t.state for t in again.trials} == {"complete"}
    assert [t.source == "" for t in again.trials].count(True) == 1


def test_a_stopped_run_is_taken_over_only_where_it_would_be_stopped_again(options):
    fidelity = {**options["proxy"], "epochs": 3, "rungs": [1 / 3]}
    ask = {**options, "warm_start": "same", "confirm": 0, "budget": 8, "policy": "none", "proxy": fidelity}
    search = autopeft.Search(**ask).run()
    settings = Settings.from_environment()
    store = Store(settings.database_url)
    controller = Controller(store, Lease.take(store, search.record.id), settings)
    trial = next(t for t in search.trials if t.params)
    at_rung = dict(trial.curve)[min(dict(trial.curve))]
    plan = make_plan(search.record.spec)
    request = plan.proxy_request("k", trial.architecture)
    low, high = (request.model_copy(update={"bars": (Bar(share=1 / 3, score=s),)}) for s in (at_rung, at_rung + 0.01))
    taken, stopped = (controller._known.find(one) for one in (low, high))
    assert taken.state == "complete" and taken.scores["holdout"] == trial.score
    assert stopped.state == "pruned" and stopped.scores == {}
    elsewhere = request.model_copy(update={"bars": (Bar(share=0.7, score=-1.0),)})
    assert controller._known.find(elsewhere) is None
    controller._lease.stop()


def test_fronts_of_another_task_are_tried_first(options, tmp_path):
    first = autopeft.Search(**{**options, "confirm": 0, "budget": 12, "baselines": False}).run()
    found = [row.architecture for row in first.front if not row.baseline]
    assert found
    other = {**options, "task": {"name": str(make_task(tmp_path / "other.csv", seed=9))}, "confirm": 0, "budget": 16}
    for warm_start in ("all", first.record.id, first.record.name):
        search = autopeft.Search(**{**other, "warm_start": warm_start}).run()
        begun = [t.architecture for t in search.trials if not t.name][: len(found)]
        assert sorted(a.fingerprint for a in begun) == sorted(a.fingerprint for a in found)
    same = autopeft.Search(**{**other, "warm_start": "same"})
    assert not same.record.facts["first"]


def test_what_a_cap_forbids_is_not_tried_first(options):
    first = autopeft.Search(**{**options, "confirm": 0, "budget": 12, "baselines": False}).run()
    most = max(row.params for row in first.front) - 1
    ask = {**options, "confirm": 0, "max_params": most, "warm_start": first.record.id, "baselines": False, "seed": 3}
    assert all(t.params <= most for t in autopeft.Search(**ask).run().trials)


def test_a_front_of_another_model_and_one_that_is_not_there_are_refused(options, tmp_path):
    first = autopeft.Search(**{**options, "confirm": 0, "budget": 8}).run()
    other = make_model(tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: 1.1 * tensor for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match="another base model"):
        autopeft.Search(**{**options, "model": str(other), "warm_start": first.record.id})
    with pytest.raises(NotFound):
        autopeft.Search(**{**options, "warm_start": "nobody"})


def test_the_default_sampler_learns_from_earlier_searches(options):
    ask = {**options, "warm_start": "same", "sampler": "known_cost", "confirm": 0, "policy": "none"}
    first = autopeft.Search(**{**ask, "budget": 28}).run()
    again = autopeft.Search(**{**ask, "budget": 10, "seed": 1, "baselines": False}).run()
    assert len(first.trials) == 28 and len(again.trials) == 10
    # No spread points: what is proposed is a guess from what is known, and good from the first.
    best = sorted(t.score for t in first.trials)[len(first.trials) // 2]
    assert sum(t.score >= best for t in again.trials) >= 5


def test_a_table_of_a_search_replays_it(options, trained, tmp_path):
    ask = {**options, "confirm": 0, "budget": 14}
    first = autopeft.Search(**ask).run()
    store = Store(Settings.from_environment().database_url)
    table = tmp_path / "runs.jsonl.gz"
    assert write_evaluations(table, store.all_evaluations(first.record.id)) == 14
    assert len(list(read_evaluations(table))) == 14
    count = len(trained)
    replayed = autopeft.Search(**{**ask, "executor": "replay", "table": str(table)}).run()
    assert points(replayed) == points(first)
    more = autopeft.Search(**{**ask, "executor": "replay", "table": str(table), "budget": 30}).run()
    assert len(more.trials) == 30 and all(0 <= t.score <= 1 for t in more.trials)
    assert len(trained) == count
    after = autopeft.Search(**{**ask, "warm_start": "same", "budget": 30}).run()
    assert len(trained) == count + 16, "estimates are not taken for runs"
    assert points(after)[:14] == points(first)


def test_replay_without_a_table_and_a_table_without_replay_are_refused(options, tmp_path):
    with pytest.raises(InvalidInput, match="--table FILE"):
        autopeft.Search(**{**options, "executor": "replay"})
    with pytest.raises(InvalidInput, match="only the executor 'replay'"):
        autopeft.Search(**{**options, "table": str(tmp_path)})
    with pytest.raises(InvalidInput, match="no such file"):
        autopeft.Search(**{**options, "executor": "replay", "table": str(Path(tmp_path) / "not.jsonl")})


@pytest.mark.parametrize(
    ("text", "message"), [("# A page\n", "line 1 is no evaluation"), ("", "no complete run"), ("{}\n", "line 1")]
)
def test_a_file_that_is_no_table_is_refused_before_there_is_a_search(options, tmp_path, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        autopeft.Search(**{**options, "executor": "replay", "table": str(page)})
    assert Store(Settings.from_environment().database_url).list() == []
