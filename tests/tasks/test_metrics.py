import subprocess
import sys

import numpy as np
import pytest

from autopeft.tasks.metrics import METRICS, score_all

CLASSES = np.array([0, 0, 1, 1])
NUMBERS = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    "metric, targets, predictions, score",
    [
        ("accuracy", CLASSES, [0, 1, 1, 1], 0.75),
        ("macro_f1", CLASSES, [0, 1, 1, 1], (2 / 3 + 4 / 5) / 2),
        ("matthews", CLASSES, [0, 1, 1, 1], 1 / 3**0.5),
        ("matthews", CLASSES, [1, 1, 0, 0], -1.0),
        ("pearson", NUMBERS, [2.0, 4.0, 6.0, 8.0], 1.0),
        ("pearson", NUMBERS, [1.0, 2.0, 4.0, 3.0], 0.8),
        ("spearman", NUMBERS, [1.0, 10.0, 100.0, 1000.0], 1.0),
        ("spearman", NUMBERS, [4.0, 3.0, 2.0, 1.0], -1.0),
        ("pearson_spearman", NUMBERS, [1.0, 2.0, 4.0, 3.0], 0.8),
    ],
)
def test_scores_by_hand(metric, targets, predictions, score):
    assert METRICS[metric].score(targets, np.array(predictions)) == pytest.approx(score)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_prediction_scores_one(metric):
    targets = CLASSES if METRICS[metric].kind == "classification" else NUMBERS
    assert METRICS[metric].score(targets, targets) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ["pearson", "spearman", "pearson_spearman", "matthews"])
def test_one_prediction_for_every_row_is_worth_nothing(metric):
    targets = CLASSES if METRICS[metric].kind == "classification" else NUMBERS
    assert METRICS[metric].score(targets, np.zeros_like(targets)) == 0.0


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_predictions_that_hardly_differ_are_no_error(metric):
    assert -1 <= METRICS[metric].score(NUMBERS, np.array([1, 1, 1, 1 + 1e-16 * 3])) <= 1


def test_macro_f1_counts_a_class_that_is_never_predicted():
    assert METRICS["macro_f1"].score(np.array([0, 0, 0, 1]), np.zeros(4, dtype=int)) == pytest.approx(6 / 7 / 2)


@pytest.mark.parametrize(
    "kind, names",
    [
        ("classification", {"accuracy", "macro_f1", "matthews"}),
        ("regression", {"pearson", "spearman", "pearson_spearman"}),
    ],
)
def test_score_all_gives_the_metrics_of_the_kind(kind, names):
    targets = CLASSES if kind == "classification" else NUMBERS
    scores = score_all(kind, targets, targets)
    assert set(scores) == names and all(type(score) is float for score in scores.values())


def test_naming_metrics_loads_nothing_that_computes_them():
    code = "import sys, autopeft.tasks.metrics; assert not {'scipy', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
