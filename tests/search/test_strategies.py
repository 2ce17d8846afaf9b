"""The samplers that follow a plan of their own, from the request to the answer, on the real worker."""

import json

import pytest
import yaml

import autopeft
from autopeft.errors import InvalidInput
from autopeft.samplers.progressive import label
from autopeft.samplers.s3delta import fill
from autopeft.settings import Settings
from autopeft.stored import evidence_folder

GATED = {
    "schema": 1,
    "summary": "gates",
    "modules": {
        "lora": {"sites": ["attention.query", "attention.value", "ffn.in"], "size": [2], "gate": "placement"},
        "bitfit": {"sites": ["norm.ffn", "norm.attention"], "gate": "placement"},
    },
}
STAGED = {
    "schema": 1,
    "summary": "stages",
    "modules": {
        "lora": {"sites": ["attention.query", "ffn.in"], "size": "solved", "gate": "group"},
        "adapter": {"type": "serial_adapter", "sites": ["ffn"], "size": "solved", "gate": "group"},
    },
    "groups": {"count": 2, "pattern": ["increasing", "uniform"], "tunable": "choose"},
    "allocation": {"of": "params", "pattern": ["increasing", "decreasing"]},
    "budget": 3000,
}


@pytest.fixture
def space(tmp_path):
    def write(document, **changes):
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({**document, **changes}))
        return str(path)

    return write


def evidence(search, name):
    return json.loads((evidence_folder(Settings.from_environment(), search.record.id) / name).read_text())


# -- s3delta


def s3delta(options, write, **changes):
    asked = {"sampler": "s3delta", "param_budgets": [300, 900], "budget": 4, "baselines": False, "confirm": 0}
    gates = {"steps": 5, **changes.pop("gates", {})}
    return autopeft.Search(**{**options, **asked, "space": write(GATED), "gates": gates, **changes})


def test_a_structure_is_searched_at_each_budget_filled_and_trained(options, space):
    search = s3delta(options, space).run()
    assert [t.state for t in search.trials] == ["complete", "complete"]
    for trial, budget in zip(search.trials, (300, 900), strict=True):
        found = evidence(search, f"gates-{budget}.json")
        gates = found["gates"]
        assert len(gates) == 2 * 5 and sum(g["params"] for g in gates if g["chosen"]) == trial.params <= budget
        expected = sum(g["probability"] * g["params"] for g in gates)
        assert expected == pytest.approx(budget, rel=1e-3)
        left = budget - trial.params
        assert all(g["params"] > left for g in gates if not g["chosen"]), "nothing more would have fitted"
        chosen = {(g["module"], g["site"], g["layer"]) for g in gates if g["chosen"]}
        assert chosen == {(p.module, p.site, p.layer) for p in trial.architecture.placements}


def test_a_structure_search_that_is_done_is_not_done_again(options, space):
    search = s3delta(options, space).run()
    paths = [evidence_folder(Settings.from_environment(), search.record.id) / f"gates-{b}.json" for b in (300, 900)]
    before = [path.stat().st_mtime_ns for path in paths]
    assert len(search.resume("+3").trials) == 2, "the structures are known; there is nothing more to train"
    assert [path.stat().st_mtime_ns for path in paths] == before
    paths[1].unlink()
    assert len(search.resume("+1").trials) == 2 and paths[1].exists(), "found again, and the same by the same seed"


def test_the_second_order_is_an_option_and_finds_other_probabilities(options, space):
    first = s3delta(options, space, name="first").run()
    second = s3delta(options, space, name="second", gates={"order": "second"}).run()
    probabilities = [[g["probability"] for g in evidence(s, "gates-900.json")["gates"]] for s in (first, second)]
    assert probabilities[0] != probabilities[1]


def test_without_budgets_it_spreads_them_over_the_space(options, space):
    search = s3delta(options, space, param_budgets=(), budget=3).run()
    params = [t.params for t in search.trials]
    assert len(params) == 3 and params == sorted(params)


def test_without_budgets_it_spreads_them_up_to_the_cap(options, space):
    search = s3delta(options, space, param_budgets=(), max_params=200, budget=2).run()
    assert [t.state for t in search.trials] == ["complete", "complete"]
    assert all(64 <= t.params <= 200 for t in search.trials)


def test_a_structure_that_the_space_forbids_is_left_out(options, space):
    search = s3delta(options, lambda _: space(GATED, constraints={"params": {"most": 400}})).run()
    assert [t.state for t in search.trials] == ["complete"] and search.trials[0].params <= 300


def test_trials_are_points_of_the_space(options, space):
    trial = s3delta(options, space).run().trials[0]
    assert trial.name == "" and trial.architecture.placements


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"space": "autopeft"}, "serial_adapter.size is no gate of one placement"),
        ({"space": "lora"}, "lora.size is no gate of one placement"),
        ({"space": "unified"}, "attention_adapter.type is no gate of one placement"),
        ({"param_budgets": ["10"]}, "param-budgets = 10: too low: the smallest gate has 64 parameters"),
        ({"max_params": 500}, "param-budgets = 900: above the cap of 500 parameters"),
        ({"param_budgets": ["ten"]}, "param-budgets = 'ten': give a number"),
        ({"param_budgets": [300, 600, 900], "budget": 2}, "leaves 2 trials for the space, and 3 param-budgets need"),
        ({"sampler": "tpe"}, "param-budgets = '300, 900': sampler 'tpe' finds a whole front by itself"),
    ],
)
def test_what_it_cannot_search_is_refused_before(options, space, changes, wanted):
    with pytest.raises(InvalidInput, match=wanted):
        s3delta(options, space, **changes)


def test_a_prefix_cannot_be_gated(options, space):
    modules = {**GATED["modules"], "prefix": {"sites": ["attention.kv"], "size": [2], "gate": "placement"}}
    with pytest.raises(InvalidInput, match="cannot train a gate on a prefix"):
        s3delta(options, lambda _: space(GATED, modules=modules))


def test_fill_takes_the_most_probable_that_fit():
    assert fill([0.9, 0.8, 0.7, 0.1], [50, 60, 40, 10], 100) == {0, 2, 3}
    assert fill([0.5, 0.5, 0.5], [10, 5, 5], 10) == {1, 2}, "of equals the cheaper, then the later"
    assert fill([0.9], [11], 10) == set()


# -- progressive


def progressive(options, write, **changes):
    asked = {"sampler": "progressive", "space": write(STAGED), "budget": 26, "baselines": False, "confirm": 0}
    return autopeft.Search(**{**options, **asked, **changes})


def test_stages_are_decided_in_order_by_the_means_of_equal_budgets(options, space):
    search = progressive(options, space).run()
    found = evidence(search, "stages.json")
    strategies = [f"strategy of group {group}" for group in (1, 2) if found["design"][f"groups.tune.g{group}"]]
    assert [stage["stage"] for stage in found["stages"]] == ["grouping", "allocation", "tunable groups", *strategies]
    assert found["samples"] == 2
    trials = {trial.number: trial for trial in search.trials}
    for stage in found["stages"]:
        means = [answer["mean"] for answer in stage["answers"]]
        assert means[stage["best"]] == max(means)
        for answer in stage["answers"]:
            assert answer["scores"] == [trials[number].score for number in answer["trials"]]
    assert all(abs(t.params - 3000) <= 60 for t in search.trials)
    assert len({t.architecture.fingerprint for t in search.trials}) == len(search.trials) <= 26


def test_resumed_in_the_middle_it_ends_with_the_same_design(options, space):
    whole = progressive(options, space, name="whole").run()
    halves = progressive(options, space, name="halves")

    def stop_after_seven(progress):
        if progress.done >= 7:
            controller.drain()

    controller = halves.controller(stop_after_seven)
    assert controller.run().state == "interrupted" and len(halves.trials) == 7
    halves.run()
    assert evidence(halves, "stages.json") == evidence(whole, "stages.json")
    assert [t.score for t in halves.trials] == [t.score for t in whole.trials]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"space": "autopeft"}, "progressive needs groups with something to choose; try design_spaces"),
        ({"budget": 3}, "budget: leaves 3 trials for the space, and progressive tries up to"),
    ],
)
def test_what_progressive_cannot_search_is_refused_before(options, space, changes, wanted):
    with pytest.raises(InvalidInput, match=wanted):
        progressive(options, space, **changes)


def test_answers_have_short_names():
    assert label({"groups.pattern": "spindle"}) == "spindle"
    assert label({"groups.tune.g1": True, "groups.tune.g2": False, "groups.tune.g3": True}) == "groups 1 3"
    assert label({"groups.tune.g1": False, "groups.tune.g2": True}) == "group 2"
    assert label({"lora.on.g1": True, "adapter.on.g1": True, "prefix.on.g1": False}) == "lora + adapter"
    assert label({"lora.on.g1": False}) == "nothing"
