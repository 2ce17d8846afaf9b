"""Metrics of predictions, all of them higher-is-better."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Metric:
    """One metric: ``score(targets, predictions)``, both of shape ``(rows,)``."""

    kind: Literal["classification", "regression"]
    summary: str
    score: Callable[[Array, Array], float]


def _accuracy(targets: Array, predictions: Array) -> float:
    return float(sklearn_metrics.accuracy_score(targets, predictions))


def _macro_f1(targets: Array, predictions: Array) -> float:
    return float(sklearn_metrics.f1_score(targets, predictions, average="macro", zero_division=0))


def _matthews(targets: Array, predictions: Array) -> float:
    return float(sklearn_metrics.matthews_corrcoef(targets, predictions))


def _pearson(targets: Array, predictions: Array) -> float:
    return _defined(stats.pearsonr, targets, predictions)


def _spearman(targets: Array, predictions: Array) -> float:
    return _defined(stats.spearmanr, targets, predictions)


def _pearson_spearman(targets: Array, predictions: Array) -> float:
    return (_pearson(targets, predictions) + _spearman(targets, predictions)) / 2


def _defined(correlation: Callable[..., Any], targets: Array, predictions: Array) -> float:
    # A model that predicts one number for every row has no correlation; that is worth nothing, not an error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # constant, or nearly so
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
