import time

import pytest

from autopeft.controller.upcoming import Upcoming


@pytest.fixture
def upcoming():
    """``upcoming(*steps)``: of numbers, which say how long they are; and which were chosen so far."""

    def make(*steps, seconds=0.0):
        chosen = []

        def choose():
            for step in steps:
                time.sleep(seconds)
                chosen.append(step)
                yield step

        return Upcoming(choose(), float, lambda step: step == "0"), chosen

    return make


def test_a_step_is_chosen_when_it_is_taken_and_not_before(upcoming):
    steps, chosen = upcoming("3", "1", "2")
    assert chosen == []
    assert steps.take() == "3" and chosen == ["3"] and steps.ahead == ()
    assert [steps.take(), steps.take(), steps.take(), steps.take()] == ["1", "2", None, None]


def test_what_is_left_at_the_end_is_chosen_together_and_the_longest_goes_first(upcoming):
    steps, chosen = upcoming("2", "5", "3", "9")
    steps.prepare_end(3)
    assert chosen == ["2", "5", "3"] and steps.ahead == ("5", "3", "2")
    assert steps.take() == "5"
    steps.prepare_end(2)
    assert chosen == ["2", "5", "3"], "what was chosen counts"
    assert [steps.take(), steps.take(), steps.take()] == ["3", "2", "9"]


def test_the_end_is_what_there_is(upcoming):
    steps, _ = upcoming("1", "2")
    steps.prepare_end(5)
    assert steps.ahead == ("2", "1")


def test_nothing_is_kept_of_a_step_that_says_to_wait(upcoming):
    steps, chosen = upcoming("1", "0", "2")
    steps.prepare_end(3)
    assert steps.ahead == ("1",) and chosen == ["1", "0"]
    assert [steps.take(), steps.take(), steps.take()] == ["1", "2", None]


@pytest.mark.parametrize(("run_seconds", "ahead"), [(0.2, ("2",)), (60.0, ())])
def test_one_step_is_chosen_ahead_where_choosing_takes_long_beside_a_run(upcoming, run_seconds, ahead):
    steps, _ = upcoming("1", "2", "3", seconds=0.02)
    steps.prepare_next(run_seconds)
    assert steps.ahead == (), "it is not known yet how long that takes"
    steps.take()
    steps.prepare_next(run_seconds)
    steps.prepare_next(run_seconds)
    assert steps.ahead == ahead
