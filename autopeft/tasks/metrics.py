"""Metrics of predictions, all of them higher-is-better.

What computes them is loaded by the first score: it takes a second, and most processes only name metrics.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Metric:
    """One metric: ``score(targets, predictions)``, both of shape ``(rows,)``."""

    kind: Literal["classification", "regression"]
    summary: str
    score: Callable[[Array, Array], float]


def _accuracy(targets: Array, predictions: Array) -> float:
    from sklearn.metrics import accuracy_score  # noqa: PLC0415 - see above

    return float(accuracy_score(targets, predictions))


def _macro_f1(targets: Array, predictions: Array) -> float:
    from sklearn.metrics import f1_score  # noqa: PLC0415 - see above

    return float(f1_score(targets, predictions, average="macro", zero_division=0))


def _matthews(targets: Array, predictions: Array) -> float:
    from sklearn.metrics import matthews_corrcoef  # noqa: PLC0415 - see above

    return float(matthews_corrcoef(targets, predictions))


def _pearson(targets: Array, predictions: Array) -> float:
    from scipy.stats import pearsonr  # noqa: PLC0415 - see above

    return _defined(pearsonr, targets, predictions)


def _spearman(targets: Array, predictions: Array) -> float:
    from scipy.stats import spearmanr  # noqa: PLC0415 - see above

    return _defined(spearmanr, targets, predictions)


def _pearson_spearman(targets: Array, predictions: Array) -> float:
    return (_pearson(targets, predictions) + _spearman(targets, predictions)) / 2


def _defined(correlation: Callable[..., Any], targets: Array, predictions: Array) -> float:
    from scipy.stats import DegenerateDataWarning  # noqa: PLC0415 - see above

    # A model that predicts one number for every row has no correlation; that is worth nothing, not an error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # constant, or nearly so
        value = float(correlation(targets, predictions).statistic)
    return value if np.isfinite(value) else 0.0


METRICS: dict[str, Metric] = {
    "accuracy": Metric("classification", "share of rows that are right", _accuracy),
    "macro_f1": Metric("classification", "mean over classes of the F1 score", _macro_f1),
    "matthews": Metric("classification", "Matthews correlation coefficient", _matthews),
    "pearson": Metric("regression", "Pearson correlation", _pearson),
    "spearman": Metric("regression", "Spearman rank correlation", _spearman),
    "pearson_spearman": Metric("regression", "mean of Pearson and Spearman correlation", _pearson_spearman),
}


def score_all(kind: str, targets: Array, predictions: Array) -> dict[str, float]:
    """Return every metric of the kind by name."""
    return {name: metric.score(targets, predictions) for name, metric in METRICS.items() if metric.kind == kind}
