"""What the benchmarks measure with: the least operations of a trial, a clock of its phases, and who wins a contest."""

import importlib
import time
from pathlib import Path

import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model
from autopeft.messages import Fidelity, TaskSpec, TrialRequest
from workers import proxy
from workers.data import EncodedSplit

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """``benchmark(name)``: a module of the folder, imported as its scripts import each other."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def short_request(task, architecture, fidelity, precision="float32"):
    return TrialRequest(
        key="",
        model="minilm",
        task=task,
        architecture=architecture.to_dict(),
        fidelity=fidelity,
        precision=precision,
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lowest", [0, 3, 5])
def test_a_trial_multiplies_the_least_that_its_padded_rows_need(benchmark, lowest, precision):
    flops, peers = benchmark("flops"), benchmark("peers")
    geometry, task = describe_model("minilm").geometry, TaskSpec(name="docstrings", max_length=16)
    fidelity = Fidelity(rows=32, epochs=1, evaluations=1, held_out_rows=16)
    architecture = peers.lora(geometry.layers, lowest)
    request = short_request(task, architecture, fidelity, precision)
    report = proxy.run(request)
    peer = peers.Peer(task, fidelity)
    dtype = getattr(torch, precision)
    least = flops.Least(geometry.layers, geometry.width, lowest, report.head_params, dtype)
    unpadded, padded = least.trial(peer.rows, peer.held_out, report, batch_size=32, seed=0)
    assert flops.count(lambda: proxy.run(request)) == pytest.approx(padded, rel=0.02)
    assert unpadded < padded


def test_without_padding_the_least_is_the_same_for_the_rows_as_they_are(benchmark):
    flops = benchmark("flops")
    rows = EncodedSplit([[1] * 7] * 8, None, torch.zeros(8), 0)
    report = proxy.TrialReport(key="", state="complete", steps=3, curve=((3, 0.5),))
    unpadded, padded = flops.Least(6, 384, 2, 3080).trial(rows, rows, report, batch_size=4, seed=0)
    assert unpadded == padded


def test_a_part_that_another_calls_is_timed_once(benchmark):
    clock = benchmark("profile_trial").Clock()
    inner = clock._timed("inner", lambda: time.sleep(0.1))

    def outer():
        time.sleep(0.05)
        inner()

    with clock.running():
        clock._timed("outer", outer)()
    assert clock.seconds["inner"] == pytest.approx(0.1, abs=0.05)
    assert clock.seconds["outer"] == pytest.approx(0.05, abs=0.045)


def test_every_phase_of_a_trial_is_timed_and_together_they_are_the_trial(benchmark):
    profile = benchmark("profile_trial")
    task, fidelity = TaskSpec(name="docstrings", max_length=16), Fidelity(rows=32, epochs=1, held_out_rows=16)
    request = short_request(task, benchmark("peers").lora(6, 3), fidelity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proxy, "_residency", None)
        report, seconds = profile.run_timed(request, time.perf_counter)
    assert {phase for phase in seconds if seconds[phase] > 0} == {*profile.PHASES, profile.REST}
    assert sum(seconds.values()) == pytest.approx(report.seconds, rel=0.1, abs=0.05)


def test_the_peer_searches_and_confirms_its_front(benchmark, monkeypatch):
    courses, short = benchmark("courses"), Fidelity(rows=16, epochs=1, evaluations=1, held_out_rows=16)
    # What it sets for its whole process is not for this one.
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(courses.optuna.logging, "set_verbosity", lambda _: None)
    monkeypatch.setattr(courses.transformers.logging, "set_verbosity_error", lambda: None)
    found = courses._peer(courses.Job("docstrings", 0, 2, short, short, 1), time.time())
    one, other = found["trials"]
    assert one["architecture"] != other["architecture"] and one["params"] > 0
    assert one["at"] < other["at"] < found["ended"] - 0.05, "at least one run of the front came after"


def row(at, size, score, name=""):
    architecture = Architecture((Placement("lora", "attention.query", 0, size),) if size else ())
    return {"at": at, "name": name, "params": 10**size - 1, "score": score, "architecture": architecture.to_dict()}


@pytest.fixture
def contest(benchmark):
    """``contest(ours, peer, confirmed)``: what is judged of one seed, where a module of size n costs n."""

    def judge(ours, peer, confirmed, after=(2.0, 4.0), runners_up=0):
        searches = {
            "ours": [{"trials": ours, "ended": ours[-1]["at"] + after[0]}],
            "peer": [{"trials": peer, "ended": peer[-1]["at"] + after[1]}],
        }
        scores = {benchmark("end_to_end")._fingerprint(row(0, size, 0)): score for size, score in confirmed.items()}
        return benchmark("end_to_end").judge(searches, scores, 10**4 - 1, runners_up)[0]

    return judge


def test_the_time_is_that_of_the_first_front_that_is_good_enough(contest):
    ours = [row(1, 0, 0.5, "head only"), row(4, 2, 0.7), row(6, 1, 0.8)]
    peer = [row(10, 2, 0.7), row(60, 1, 0.8)]
    found = contest(ours, peer, {0: 0.5, 1: 0.8, 2: 0.7})
    assert found["best"] == pytest.approx(3 * 0.3)
    assert found["ours"]["reached"] == {"90%": 6, "95%": 6}
    assert (found["search_ratio"], found["ratio"], found["peer_reached"]) == (10.0, 64 / 8, True)


def test_confirmed_scores_decide_and_not_a_lucky_trial(contest):
    ours = [row(1, 0, 0.5, "head only"), row(2, 1, 0.8)]
    peer = [row(3, 1, 0.8), row(9, 0, 0.99)]
    found = contest(ours, peer, {0: 0.5, 1: 0.8})
    assert found["peer"]["reached"]["95%"] == 3
    assert found["peer"]["share"] == 0.0, "the lucky trial took the good one off the peer's front"
    assert contest(ours, peer, {0: 0.5, 1: 0.8}, runners_up=1)["peer"]["share"] == 1.0, "which only just missed it"


def test_a_peer_that_does_not_get_there_gives_a_lower_bound(contest):
    found = contest([row(5, 1, 0.8)], [row(50, 2, 0.6)], {0: 0.5, 1: 0.8, 2: 0.6})
    assert not found["peer_reached"]
    assert found["search_ratio"] == 10.0


def test_there_is_no_ratio_where_autopeft_does_not_get_there(contest):
    found = contest([row(5, 2, 0.6)], [row(50, 1, 0.8)], {0: 0.5, 1: 0.8, 2: 0.6})
    assert found["ratio"] is None
    assert found["peer_reached"]


def test_parity_is_the_time_to_the_most_that_the_peer_ever_has(contest):
    ours = [row(1, 0, 0.5, "head only"), row(2, 3, 0.6), row(5, 1, 0.8)]
    peer = [row(8, 3, 0.6), row(30, 2, 0.65), row(90, 0, 0.9)]
    confirmed = {0: 0.5, 1: 0.8, 2: 0.65, 3: 0.6}
    assert contest(ours, peer, confirmed)["parity"] == 30 / 5, "what the peer loses again it had"
    assert contest(peer, ours, confirmed)["parity"] is None


def test_results_of_other_conditions_are_not_gone_on_with(benchmark, tmp_path):
    kept = benchmark("kept").Kept(tmp_path / "out.json", {"rows": 8})
    kept.put("a", 1)
    assert benchmark("kept").Kept(tmp_path / "out.json", {"rows": 8}).get("a", pytest.fail) == 1
    with pytest.raises(SystemExit, match="other conditions"):
        benchmark("kept").Kept(tmp_path / "out.json", {"rows": 9})
