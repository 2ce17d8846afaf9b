"""Several controllers on one database: no search is taken twice, and what two of them do at once harms none."""

from pathlib import Path

from autopeft.controller import open_study
from autopeft.messages import TrialReport
from autopeft.settings import Settings
from autopeft.submission import make_plan
from tests.chaos.bench import Bench, Reckoning
from tests.chaos.crowd import crowd


def test_three_controllers_take_thirty_searches_once_each(bench: Bench, found: Reckoning) -> None:
    turnout = crowd(bench, 3, 30, found)
    assert sum(turnout.shares) == 30 and min(turnout.shares) > 0, turnout


def test_a_trial_that_a_controller_ends_as_it_loses_its_search_stays_as_the_next_one_finds_it(
    bench: Bench, tmp_path: Path
) -> None:
    record = bench.submit(budget=5, baselines=False)
    plan, settings = make_plan(record.spec), Settings(tmp_path, bench.url, None)
    loser, taker = open_study(plan, record, settings), open_study(plan, record, settings)
    proposal = loser.propose()
    assert not isinstance(proposal, str | None)
    trial = loser.start(proposal, plan.base_parameters)
    running = taker._frozen(trial.number)
    loser.tell(trial.number, TrialReport.failure("", "controller_lost"), None)

    assert not taker.restart(trial)
    looks = iter([running])  # as it looked a moment ago
    frozen = taker._frozen
    taker._frozen = lambda number: next(looks, None) or frozen(number)  # type: ignore[method-assign]
    told = taker.tell(trial.number, TrialReport(key="", state="complete", scores={"holdout": 0.5}), 0.5)
    assert (told.state, told.reason, told.score) == ("failed", "controller_lost", None)
    for study in (loser, taker):
        study.close()
