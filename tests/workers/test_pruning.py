"""Runs that are held to bars: where they stop, what they report, and that a full report tells the same."""

import pytest

from autopeft.messages import Bar, Fidelity, TrainingSettings, held_at, place
from tests.workers.conftest import lora
from workers import proxy

# 64 rows in batches of 16 make four steps an epoch: nine epochs are 36 steps, with rungs after 4 and 12.
FIDELITY = Fidelity(rows=64, epochs=9, evaluations=3, rungs=(1 / 9, 1 / 3), held_out_rows=32)
THIRD = 1 / 3
OUT_OF_REACH = 2.0


@pytest.fixture
def run(request_for):
    """``run(bars, ...)``: the report of a run of 36 steps that is held to these bars."""

    def make(bars=(), **changes):
        settings = TrainingSettings(batch_size=16, learning_rate=1e-2, head_learning_rate=3e-2)
        return proxy.run(request_for(**{"fidelity": FIDELITY, "training": settings, "bars": tuple(bars), **changes}))

    return make


def told(report):
    """What a report says, but for what every run takes anew: time and memory."""
    return report.model_dump(exclude={"seconds", "busy_seconds", "peak_memory"}), report.weights


def bar(share, score):
    return Bar(share=share, score=score)


# -- where a run stops


def test_a_run_below_its_bar_is_stopped_there(run):
    full, report = run(keep_weights=True), run([bar(THIRD, OUT_OF_REACH)], keep_weights=True)
    assert (report.key, report.state, report.reason) == ("trial 1", "pruned", "pruned")
    assert report.steps == full.steps == 36
    assert [step for step, _ in report.curve] == [4, 12] and report.curve == full.curve[:2]
    assert report.detail == f"{report.curve[1][1]:.4f} after 12 of 36 steps, where 2.0000 was needed"
    assert (report.scores, report.metrics, report.best_step, report.weights) == ({}, {}, 0, None)
    assert (report.params, report.head_params, report.device) == (full.params, full.head_params, full.device)
    assert 0 < report.busy_seconds <= report.seconds and report.peak_memory > 0


def test_a_bar_of_nothing_changes_nothing(run):
    parts = {"parts": ("holdout", "validation"), "keep_weights": True}
    assert told(run([bar(1 / 9, 0.0), bar(THIRD, 0.0)], **parts)) == told(run(**parts))


def test_a_score_just_at_the_bar_is_enough(run):
    full = run()
    score = dict(full.curve)[12]
    assert told(run([bar(THIRD, score)])) == told(full)
    assert run([bar(THIRD, score + 1e-9)]).state == "pruned"


def test_the_first_bar_that_is_missed_stops(run):
    report = run([bar(THIRD, OUT_OF_REACH), bar(1 / 9, OUT_OF_REACH)])
    assert [step for step, _ in report.curve] == [4] and "after 4 of 36 steps" in report.detail
    report = run([bar(1 / 9, 0.0), bar(THIRD, OUT_OF_REACH)])
    assert [step for step, _ in report.curve] == [4, 12]


@pytest.mark.parametrize("scores", [(0.0, OUT_OF_REACH), (OUT_OF_REACH, 0.0)])
def test_of_two_rungs_at_one_step_the_higher_bar_counts(run, scores):
    bars = [bar(share, score) for share, score in zip((0.33, 0.34), scores, strict=True)]
    assert held_at(bars, 36) == {12: bars[scores.index(OUT_OF_REACH)]}
    report = run(bars)
    assert report.state == "pruned" and report.curve[-1][0] == 12 and "2.0000 was needed" in report.detail


def test_a_bar_at_the_last_step_is_not_held(run):
    bars = [bar(0.99, OUT_OF_REACH)]
    assert place(0.99, 36) == 36 and held_at(bars, 36) == {}
    assert told(run(bars)) == told(run())
    short = Fidelity(rows=16, epochs=1, evaluations=1, rungs=(1 / 9, 1 / 3))
    assert run([bar(THIRD, OUT_OF_REACH)], fidelity=short).state == "complete"


def test_a_bar_is_held_where_there_is_no_rung_too(run):
    plain = FIDELITY.model_copy(update={"rungs": (), "evaluations": 1})
    report = run([bar(0.25, OUT_OF_REACH)], fidelity=plain)
    assert report.state == "pruned" and [step for step, _ in report.curve] == [9]


def test_rungs_are_scored_without_bars_and_train_the_same(run):
    plain = FIDELITY.model_copy(update={"rungs": ()})
    with_rungs, without = run(keep_weights=True), run(fidelity=plain, keep_weights=True)
    assert [step for step, _ in with_rungs.curve] == [4, 12, 24, 36]
    assert [step for step, _ in without.curve] == [12, 24, 36]
    assert set(without.curve) <= set(with_rungs.curve)


def test_epochs_of_the_architectures_own_move_its_rungs(run):
    report = run([bar(THIRD, OUT_OF_REACH)], architecture=lora(training=(("epochs", 3.0),)))
    assert report.steps == 12 and [step for step, _ in report.curve] == [1, 4]


def test_a_run_that_fails_before_its_bar_failed(run):
    wild = lora(training=(("learning_rate", 1e38), ("head_learning_rate", 1e38)))
    settings = {"architecture": wild, "training": TrainingSettings(batch_size=16)}
    assert run([bar(THIRD, OUT_OF_REACH)], **settings).reason == "diverged"


def test_the_next_run_is_as_if_none_had_been_stopped(run):
    before = told(run(keep_weights=True))
    assert run([bar(1 / 9, OUT_OF_REACH)], keep_weights=True).state == "pruned"
    assert told(run(keep_weights=True)) == before


# -- what a full report says of it


@pytest.fixture
def full(run):
    return run(keep_weights=True)


def test_a_full_report_held_to_bars_is_the_report_of_a_run_that_is(run, full):
    scores = dict(full.curve)
    levels = [0.0, scores[4], scores[12], (scores[4] + scores[12]) / 2, OUT_OF_REACH]
    states = set()
    for low in levels:
        for high in levels[1:]:
            bars = [bar(1 / 9, low), bar(THIRD, high)]
            real, held = run(bars, keep_weights=True), full.held_to(bars)
            assert told(held) == told(real), bars
            states.add((held.state, len(held.curve)))
    assert {("pruned", 1), ("pruned", 2)} < states


def test_a_full_report_under_bars_that_it_reaches_is_itself(full):
    assert full.held_to([]) is full and full.held_to([bar(THIRD, 0.0), bar(0.99, OUT_OF_REACH)]) is full


def test_a_run_that_was_stopped_took_its_share_of_the_time(full):
    held = full.held_to([bar(THIRD, OUT_OF_REACH)])
    assert held.seconds == pytest.approx(full.seconds / 3)
    assert held.busy_seconds == pytest.approx(full.busy_seconds / 3)


def test_a_report_that_ends_before_a_bar_or_was_not_scored_there_cannot_tell(full):
    stopped = full.held_to([bar(1 / 9, OUT_OF_REACH)])
    assert stopped.held_to([bar(THIRD, 0.0)]) is None and stopped.held_to([]) is None
    assert told(stopped.held_to([bar(1 / 9, OUT_OF_REACH), bar(THIRD, 0.0)])) == told(stopped)
    assert full.held_to([bar(0.5, 0.0)]) is None
    assert full.held_to([bar(THIRD, OUT_OF_REACH), bar(0.5, 0.0)]).state == "pruned"


def test_a_failed_report_stays_what_it_is(full):
    failed = type(full).failure("trial 1", "diverged", "the loss is inf", 2.0)
    assert failed.held_to([bar(THIRD, OUT_OF_REACH)]) is failed
