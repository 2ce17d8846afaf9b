"""What a search has found, from trials and confirmations made by hand."""

import math
from dataclasses import replace

import pytest

from autopeft.answer import make_answer
from autopeft.architecture import Architecture, Placement
from autopeft.baselines import HEAD_ONLY
from autopeft.errors import InvalidInput, NoFeasibleArchitecture, NotFound
from autopeft.messages import TrialReport
from autopeft.pareto import cost_axis
from autopeft.trial import Trial

BASE = 999_999
FACTS = {"base_parameters": BASE, "metric": "accuracy"}


def architecture(number):
    return Architecture((Placement("lora", "attention.query", 0, number + 1),))


def trial(number, params, score, name="", reason=None):
    state = "complete" if score is not None else "failed" if reason else "running"
    return Trial(number, name, architecture(number), params, score, state, reason, 1.5, 1)


def confirmed(*runs):
    """Reports of ``(trial number, scores of seeds)``; a score of None is a run that failed."""
    return {
        (architecture(number).fingerprint, seed): TrialReport.failure("", "diverged")
        if score is None
        else TrialReport(key="", state="complete", scores={"holdout": 0.99, "validation": score})
        for number, scores in runs
        for seed, score in enumerate(scores)
    }


def answer(trials, confirmations=None):
    return make_answer(
        search="s-1", name="mine", state="done", facts=FACTS, trials=trials, confirmations=confirmations or {}
    )


HEAD, LORA = trial(0, 0, 0.5, HEAD_ONLY), trial(1, 9999, 0.7, "LoRA")
FOUND = [HEAD, LORA, trial(2, 99, 0.6), trial(3, 99, 0.55), trial(4, 99_999, 0.65), trial(5, 999, 0.8)]


def numbers(rows):
    return [row.trial for row in rows]


def test_before_confirmation_the_front_is_of_held_out_scores_by_ascending_parameters():
    found = answer(FOUND)
    assert not found.confirmed
    assert numbers(found.front) == [0, 2, 5]
    assert numbers(found.baselines) == [0, 1]
    assert numbers(found.others) == [3, 4]
    row = found.front[1]
    assert (row.score, row.score_std, row.seeds, row.confirmed, row.baseline) == (0.6, None, 1, False, False)
    assert row.params_percent == round(100 * 99 / BASE, 4) and row.seconds == 1.5
    assert found.front[0].name == HEAD_ONLY and row.name == "lora 3 @ layers 0"


def test_of_equal_points_the_first_alone_is_on_the_front():
    tied = [HEAD, trial(1, 99, 0.6, "LoRA"), trial(2, 99, 0.6), trial(3, 100, 0.6)]
    assert numbers(answer(tied).front) == [0, 1]


def test_confirmed_rows_have_mean_deviation_and_seeds_and_alone_make_the_front():
    found = answer(FOUND, confirmed((0, [0.4, 0.5, 0.6]), (1, [0.7, 0.7, 0.7]), (2, [0.6, 0.8, 0.7]), (5, [0.6])))
    assert found.confirmed and all(row.confirmed for row in (*found.front, *found.baselines))
    assert numbers(found.front) == [0, 2]
    head, second = found.front
    assert (head.score, head.score_std, head.seeds) == (pytest.approx(0.5), pytest.approx(0.1), 3)
    assert (second.score, second.score_std, second.seeds) == (pytest.approx(0.7), pytest.approx(0.1), 3)
    single = next(row for row in found.others if row.trial == 5)
    assert (single.score, single.score_std, single.seeds, single.confirmed) == (0.6, None, 1, True)
    assert not any(row.confirmed for row in found.others if row.trial in (3, 4))


def test_failed_confirmations_count_nothing_and_a_row_of_nothing_else_is_not_confirmed():
    found = answer(FOUND, confirmed((0, [0.5]), (2, [None, 0.7, None]), (5, [None, None])))
    assert numbers(found.front) == [0, 2]
    assert found.front[1].score == 0.7 and found.front[1].seeds == 1
    assert 5 not in numbers(found.front)


def test_confirmations_that_all_failed_leave_the_proxies_answer():
    assert answer(FOUND, confirmed((0, [None]), (5, [None]))) == answer(FOUND)


def test_a_confirmed_tie_keeps_the_first():
    found = answer([HEAD, trial(1, 50, 0.6, "LoRA"), trial(2, 50, 0.9)], confirmed((1, [0.7]), (2, [0.7])))
    assert numbers(found.front) == [1]
    assert numbers(found.others) == [2]


@pytest.mark.parametrize("trials", [[], [trial(0, 0, None, HEAD_ONLY, "diverged"), trial(1, 9, None, "", "error")]])
def test_without_a_score_there_is_no_front(trials):
    found = answer(trials)
    assert found.front == found.baselines == found.others == ()
    assert found.hypervolume == found.baseline_hypervolume == 0.0
    assert found.reference == (6.0, 0.0)
    for choice in ("best", "knee", "smallest", "params<=5%"):
        with pytest.raises(NoFeasibleArchitecture, match="the front of search 'mine' has no architecture for"):
            found.pick(choice)


def test_the_reference_is_full_fine_tuning_and_the_head_alone():
    assert answer(FOUND).reference == (cost_axis(BASE), 0.5) == (6.0, 0.5)
    assert answer(FOUND, confirmed((0, [0.3]), (5, [0.8]))).reference == (6.0, 0.3)
    assert answer(FOUND[2:]).reference == (6.0, 0.55), "the least score where no head only is there"
    assert answer(FOUND[2:], confirmed((5, [0.8]))).reference == (6.0, 0.8), "and of confirmed ones if there are any"


def test_hypervolumes_by_hand():
    found = answer(FOUND)
    # cost 2 to 3 at 0.6, 3 to 6 at 0.8, above 0.5; the baselines have LoRA alone, 4 to 6 at 0.7
    assert found.hypervolume == pytest.approx(1 * 0.1 + 3 * 0.3)
    assert found.baseline_hypervolume == pytest.approx(2 * 0.2)


def test_more_trials_never_make_less_hypervolume():
    volumes = [answer(FOUND[:count]).hypervolume for count in range(1, len(FOUND) + 1)]
    assert volumes == sorted(volumes)


@pytest.mark.parametrize(
    ("choice", "number"),
    [
        ("best", 5),
        ("smallest", 2),
        ("params<=99", 2),
        ("params <= 500", 2),
        ("params<=5%", 5),
        ("4", 4),
        ("0", 0),
    ],
)
def test_picks(choice, number):
    assert answer(FOUND).pick(choice).trial == number


def test_the_knee_is_farthest_above_the_line_between_the_ends_of_what_has_modules():
    found = answer([HEAD, trial(1, 9, 0.6), trial(2, 99, 0.78), trial(3, 999, 0.79), trial(4, 9999, 0.8)])
    assert found.pick("knee").trial == 2


def test_head_only_is_picked_where_nothing_else_is_there():
    assert answer([HEAD]).pick("best").trial == answer([HEAD]).pick("smallest").trial == 0


@pytest.mark.parametrize(
    ("choice", "error", "told"),
    [
        ("bst", InvalidInput, "pick = 'bst': use best, knee, smallest, a trial's number, or 'params<=0.5%'"),
        ("params<=x", InvalidInput, "give a number"),
        ("params<5", InvalidInput, "use best, knee"),
        ("²", InvalidInput, "use best, knee"),
        ("-1", InvalidInput, "use best, knee"),
        ("params<=98", NoFeasibleArchitecture, "has no architecture for 'params<=98'"),
        ("77", NotFound, "search 'mine' has no finished trial 77"),
    ],
)
def test_other_picks(choice, error, told):
    with pytest.raises(error, match=None) as caught:
        answer(FOUND).pick(choice)
    assert told in str(caught.value)


def test_the_answer_as_json_is_complete_and_finite():
    document = answer(FOUND, confirmed((0, [0.5, 0.5]), (5, [0.8]))).to_dict()
    assert list(document) == [
        "search",
        "name",
        "state",
        "metric",
        "front",
        "baselines",
        "hypervolume",
        "baseline_hypervolume",
    ]
    assert list(document["front"][0]) == [
        "trial",
        "name",
        "params",
        "params_percent",
        "score",
        "score_std",
        "seeds",
        "confirmed",
        "fingerprint",
        "architecture",
    ]
    assert document["front"][0]["score_std"] == 0.0
    assert Architecture.from_dict(document["front"][1]["architecture"]) == architecture(5)
    assert math.isfinite(document["hypervolume"])


def test_a_score_that_is_no_number_is_on_no_front():
    odd = replace(trial(6, 5, 0.9), score=math.nan)
    assert 6 not in numbers(answer([*FOUND, odd]).front)
