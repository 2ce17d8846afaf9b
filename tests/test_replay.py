"""What a table of recorded runs says of architectures: their merit, without the luck of a run."""

import random

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.evaluation import Conditions, Evaluation
from autopeft.executors.replay import Table
from autopeft.messages import Fidelity, TaskSpec, TrialReport, TrialRequest

CONDITIONS = Conditions(
    model="minilm",
    model_hash="a" * 16,
    task=TaskSpec(name="docstrings"),
    task_hash="b" * 16,
    metric="accuracy",
    fidelity=Fidelity(rows=1000, epochs=3, evaluations=1, held_out_rows=500),
)
NOISE = 0.02
LUCKY, FAILING = (3, 12), (2, 9)
SITE = "attention.query"


def architecture(layers: int, size: int) -> Architecture:
    return Architecture(tuple(Placement("lora", SITE, layer, size) for layer in range(layers)))


def run(layers: int, size: int, seed: int, noise: float) -> Evaluation:
    """A run whose expected score rises with the layers alone; sizes make no difference."""
    score = {LUCKY: 0.6 + 0.05 * layers + 2 * NOISE, FAILING: 0.1}.get((layers, size), 0.6 + 0.05 * layers + noise)
    made = architecture(layers, size)
    report = TrialReport(
        key="",
        state="complete",
        scores={"holdout": score},
        params=768 * size * layers,
        steps=90,
        best_step=90,
        curve=((90, score),),
    )
    return Evaluation(conditions=CONDITIONS, architecture=made.to_dict(), seed=seed, report=report)


@pytest.fixture(scope="module")
def replayed() -> Table:
    rng = random.Random(0)
    once = [run(layers, size, 0, rng.gauss(0, NOISE)) for layers in range(1, 7) for size in range(1, 25)]
    again = [run(layers, 4, seed, rng.gauss(0, NOISE)) for layers in range(1, 7) for seed in (1, 2)]
    return Table([*once, *again])


def expected(table: Table, layers: int, size: int) -> float:
    return float(table.expected(architecture(layers, size))[-1])


def request(one: Architecture) -> TrialRequest:
    return TrialRequest(
        key="k", model="minilm", task=CONDITIONS.task, architecture=one.to_dict(), fidelity=CONDITIONS.fidelity, seed=7
    )


def test_a_lucky_run_is_no_merit_of_its_architecture(replayed):
    level = 0.6 + 0.05 * LUCKY[0]
    assert expected(replayed, *LUCKY) < level + NOISE


def test_what_noise_cannot_explain_is_the_architectures_own(replayed):
    assert expected(replayed, *FAILING) == pytest.approx(0.1, abs=0.02)


def test_estimates_follow_what_makes_a_difference(replayed):
    told = [expected(replayed, layers, 15) for layers in range(1, 7)]
    assert told == pytest.approx([0.6 + 0.05 * layers for layers in range(1, 7)], abs=1.5 * NOISE)


def test_one_run_of_each_is_taken_as_it_is():
    table = Table([run(layers, size, 0, 0.0) for layers in range(1, 7) for size in range(1, 25)])
    assert expected(table, *LUCKY) == pytest.approx(0.75 + 2 * NOISE)


def test_a_run_is_as_far_from_what_is_expected_as_recorded_ones_lie_apart(replayed):
    asked = [architecture(layers, size) for layers in range(1, 7) for size in range(25, 33)]
    drawn = [replayed.report(request(one)).scores["holdout"] - float(replayed.expected(one)[-1]) for one in asked]
    assert 0.3 * NOISE < sum(abs(one) for one in drawn) / len(drawn) < 3 * NOISE
