"""`kill -9` of controllers, at random moments and at every point between two writes: nothing is lost by it."""

import random
import time

import pytest

from tests.chaos.bench import PATIENT, Reckoning
from tests.chaos.campaign import crash, crash_at_points, crash_when_cancelled, crash_when_resumed, kill_at_random
from tests.chaos.launcher import promise

SEED = 20261121


def test_kills_at_random_moments_lose_and_double_nothing(bench, found):
    kill_at_random(bench, 12, random.Random(SEED), found, print)
    assert found.kills == 12


def test_crashes_between_any_two_writes_lose_and_double_nothing(bench, found):
    crash_at_points(bench, 1, random.Random(SEED), found, print)
    assert found.kills == 12


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_search_whose_controller_is_lost_while_it_cancels_is_cancelled_and_can_be_resumed(bench, found, when):
    crash_when_cancelled(bench, when, random.Random(SEED), found)


def test_a_finished_search_that_is_given_more_budget_survives_a_crash(bench, found):
    crash_when_resumed(bench, random.Random(SEED), found)


def test_a_search_whose_controller_died_on_this_machine_goes_on_within_five_seconds(bench, found):
    record = bench.submit(budget=12)
    crash(bench, record, ("tell", "after", 3), found)
    began = time.monotonic()
    process = bench.start(bench.job(record))
    assert bench.wait_for(record, "run", after=began)["at"] - began < 5
    process.join(PATIENT)
    bench.reckon(record, found)


def test_the_reckoning_sees_what_is_lost_doubled_and_stuck(bench):
    record = bench.submit(budget=10)
    bench.finish(record)
    done = next(one for one in bench.promises(record) if one["what"] == "evaluation")
    promise(bench.log(record), "told", number=99, fingerprint="f", state="complete", score=0.5)
    promise(bench.log(record), "evaluation", phase="proxy", fingerprint="f", seed=0, state="complete", score=0.5)
    promise(bench.log(record), "run", **{name: done[name] for name in ("phase", "fingerprint", "seed")})
    bench.store.change(record.id, lambda before: before.spec.model_copy(update={"budget": "11"}))
    bench.store.claim(record.id, "elsewhere:1:abc", 30)
    wrong = Reckoning()
    bench.reckon(record, wrong)
    assert wrong.to_dict() == {"kills": 0, "lost": 3, "doubled": 1, "stuck": 1}
