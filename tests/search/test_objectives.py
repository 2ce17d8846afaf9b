"""Objectives beyond parameters and score, and caps on what is measured."""

import random

import pytest

import autopeft
from autopeft.errors import InvalidInput
from autopeft.messages import TrialReport
from autopeft.objectives import OBJECTIVES, further, measures, parse_caps
from autopeft.pareto import non_dominated, non_dominated_of_many
from autopeft.plots import plot_front

THREE = ["params", "score", "latency"]


def test_objectives_begin_with_parameters_and_score():
    assert further(["params", "score"]) == ()
    assert further(["params", "score", "memory", "bytes"]) == ("memory", "bytes")
    for wrong in (
        ["score", "params"],
        ["params"],
        ["params", "score", "latency", "latency"],
        ["params", "score", "colour"],
    ):
        with pytest.raises(InvalidInput):
            further(wrong)


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("memory", "8GB", 8e9),
        ("memory", "1.5 GiB", 1.5 * 2**30),
        ("bytes", "500kB", 5e5),
        ("latency", "20ms", 0.02),
        ("train_time", "2m", 120.0),
    ],
)
def test_caps_are_read_in_their_units(name, text, value):
    assert parse_caps({name: text}) == {name: pytest.approx(value)}


@pytest.mark.parametrize(
    "name, text", [("memory", "8"), ("memory", "8s"), ("latency", "0ms"), ("latency", "-1s"), ("x", "1s")]
)
def test_caps_that_are_none_are_refused(name, text):
    with pytest.raises(InvalidInput, match=name):
        parse_caps({name: text})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_quantity_is_read_off_a_report_and_shown_with_its_unit(name):
    report = TrialReport(key="", state="complete", params=250, peak_memory=3000, latency=0.004, busy_seconds=2.5)
    value = measures(report, [name])[name]
    assert (
        OBJECTIVES[name].text(value)
        == {"memory": "3 kB", "latency": "4 ms", "train_time": "2.5 s", "bytes": "1 kB"}[name]
    )


def test_the_front_of_many_is_that_of_two_where_the_others_agree():
    rng = random.Random(0)
    for _ in range(200):
        points = [(rng.randrange(6), rng.randrange(6)) for _ in range(rng.randrange(12))]
        assert non_dominated_of_many([(*point, 1.0) for point in points]) == non_dominated(points)


def test_a_third_objective_keeps_what_only_it_favours():
    points = [(1.0, 0.5, 3.0), (2.0, 0.4, 1.0), (2.0, 0.4, 2.0), (3.0, 0.6, 9.0), (3.0, 0.6, float("nan"))]
    assert non_dominated_of_many(points) == [0, 1, 3]


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "gp"])
def test_three_objectives_from_the_request_to_the_picture(options, sampler, tmp_path):
    ask = {**options, "sampler": sampler, "objectives": THREE, "budget": 16, "confirm": 1}
    search = autopeft.Search(**ask).run()
    answer = search.answer
    assert answer.objectives == ("latency",)
    assert all(t.measures["latency"] > 0 for t in search.trials)
    assert all(row.measures["latency"] > 0 for row in (*answer.front, *answer.baselines))
    points = [(*row.point, row.measures["latency"]) for row in (*answer.front, *answer.baselines)]
    assert {points[i] for i in non_dominated_of_many(points)} == {points[i] for i in range(len(answer.front))}
    assert answer.to_dict()["front"][0]["measures"].keys() == {"latency"}
    for path in (tmp_path / "front.png", tmp_path / "front.html"):
        plot_front(answer, path)
    page = (tmp_path / "front.html").read_text()
    assert "latency, minimised too" in page and OBJECTIVES["latency"].text(answer.front[0].measures["latency"]) in page


@pytest.mark.parametrize("sampler", ["known_cost", "s3delta", "progressive"])
def test_a_sampler_of_two_objectives_says_which_take_more(options, sampler):
    with pytest.raises(InvalidInput, match=r"minimises parameters alone; choose one of gp, nsga2, random, tpe"):
        autopeft.Search(**{**options, "sampler": sampler, "objectives": THREE})


def test_a_policy_does_not_stop_trials_that_may_be_ahead_elsewhere(options):
    with pytest.raises(InvalidInput, match="may be ahead in another objective"):
        autopeft.Search(**{**options, "objectives": THREE, "policy": "optimistic"})


def test_a_trial_over_a_measured_cap_fails_and_reaches_no_front(options):
    search = autopeft.Search(**{**options, "caps": {"train_time": "0.001ms"}}).run()
    searched = [t for t in search.trials if not t.name]
    assert searched and {t.state for t in searched} == {"failed"} and {t.reason for t in searched} == {"over_cap"}
    assert all("cap 0.001 ms" in t.detail for t in searched)
    assert search.front and all(row.baseline for row in search.front)


def test_a_cap_on_bytes_keeps_large_architectures_from_being_trained(options):
    search = autopeft.Search(**{**options, "caps": {"bytes": "8kB"}}).run()
    assert all(t.params <= 2000 for t in search.trials)
    assert {t.state for t in search.trials} == {"complete"}
