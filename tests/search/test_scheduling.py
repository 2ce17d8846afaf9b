"""When a search chooses its next trials, and in which order it starts them."""

import pytest

import autopeft
from autopeft.architecture import Architecture
from autopeft.study import Study
from tests.search.conftest import complete


def lowest(request):
    return min(placement.layer for placement in Architecture.from_dict(request.architecture).placements)


@pytest.fixture
def trials_alone(options):
    return {**options, "baselines": False, "confirm": 0, "budget": "9"}


def test_the_last_runs_begin_with_the_longest(trials_alone, made_up):
    swapped = []
    for seed in range(4):
        asked = made_up(slots=4)
        autopeft.Search(**{**trials_alone, "seed": seed}).run()
        last = [lowest(request) for request in asked[-4:]]
        assert last == sorted(last), "a run that starts lower trains through more layers"
        numbers = [int(request.key.split()[1].split(".")[0]) for request in asked]
        assert sorted(numbers) == list(range(9)) and numbers[:5] == list(range(5))
        swapped.append(numbers != sorted(numbers))
    assert any(swapped)


@pytest.mark.parametrize(("gpus", "told"), [(0.0, [0, 1, 2, 3]), (1.0, [0, 1, 1, 2])])
def test_a_choice_that_takes_long_is_made_while_gpus_are_busy(trials_alone, made_up, monkeypatch, gpus, told):
    monkeypatch.setattr("autopeft.controller.upcoming.LONG", 0.0)
    propose, known = Study.propose, []

    def noting(study):
        known.append(sum(trial.state == "complete" for trial in study.trials()))
        return propose(study)

    monkeypatch.setattr(Study, "propose", noting)
    made_up(gpus=gpus)
    autopeft.Search(**trials_alone).run()
    assert known[:4] == told and len(known) == 9


def test_what_was_chosen_but_never_run_does_not_count(trials_alone, made_up):
    """A search that is drained has chosen its end by then; it goes on as if it had not."""
    ended = set()

    def one_by_one(request):
        if len(asked) in ended and not controller._draining:
            return None
        ended.add(len(asked))
        return complete(request)

    asked = made_up(one_by_one, slots=3)
    search = autopeft.Search(**trials_alone)

    def drain(progress):
        if len(asked) == 7:
            chosen.append(len(search.trials))
            controller.drain()

    chosen = []
    controller = search.controller(drain)
    controller.run()
    assert search.record.state == "interrupted" and chosen[0] == 9
    assert len(asked) == 7 and [trial.state for trial in search.trials] == ["complete"] * 7
    again = made_up(slots=3)
    search.resume()
    assert len(search.trials) == 9 and len(again) == 2
    assert all(trial.attempts == 1 for trial in search.trials)
