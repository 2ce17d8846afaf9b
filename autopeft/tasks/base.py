"""The contract of a task source, and what every task becomes: four splits of encoded rows.

A source only reads rows. Labels, splits, checks and the default metric are the same for all of them, in
:func:`assemble`. Search trials train on ``train`` and are scored on ``holdout`` (both cut from the source's train
rows); confirmation is scored on ``validation``, which no search trial ever sees; ``test`` is left to ``train``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from autopeft.errors import InvalidInput, Problem
from autopeft.messages import Part, TaskSpec
from autopeft.tasks.metrics import METRICS

Kind = Literal["classification", "regression"]

HOLDOUT_SHARE, HOLDOUT_MOST = 0.2, 1000
CUT_SHARE, CUT_MOST = 0.15, 2000
LEAST_ROWS = 8
SPLIT_SEED = 20240601


@dataclass(frozen=True)
class Rows:
    """Rows as a source reads them: one or two texts and the raw target of each, as text.

    Attributes:
        second: the second texts, or None where each row has one text.
        origin: what to call these rows in an error, as ``reviews.csv``.
    """

    first: Sequence[str]
    second: Sequence[str] | None
    targets: Sequence[str]
    origin: str


@dataclass(frozen=True)
class RawTask:
    """What a source returns: rows by split, and what it knows about the task.

    Attributes:
        train: always there; validation and test are cut from it where None.
        kind: what to predict.
        metric: the source's own default metric, if the task has a customary one.
        labels: names of the classes in their order, where the source fixes them.
    """

    kind: Kind
    train: Rows
    validation: Rows | None = None
    test: Rows | None = None
    metric: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Split:
    """Encoded rows: ``targets`` are class indices (int64) or numbers (float32), of shape ``(rows,)``."""

    first: tuple[str, ...]
    second: tuple[str, ...] | None
    targets: np.ndarray[tuple[int], np.dtype[np.generic]]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, indices: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]) -> Split:
        """Return the rows at these indices, in their order."""
        second = None if self.second is None else tuple(self.second[i] for i in indices)
        return Split(tuple(self.first[i] for i in indices), second, self.targets[np.asarray(indices, dtype=np.int64)])


@dataclass(frozen=True)
class TaskData:
    """A task ready to train on.

    Attributes:
        labels: class names; empty for a regression.
        metric: what is maximised, a name of :data:`autopeft.tasks.metrics.METRICS`.
        train, holdout, validation, test: the splits; see the module's docstring for who sees which.
        fingerprint: 16 hexadecimal digits over all rows, labels and splits.
    """

    kind: Kind
    labels: tuple[str, ...]
    metric: str
    train: Split
    holdout: Split
    validation: Split
    test: Split
    fingerprint: str = field(default="", compare=False)

    @property
    def outputs(self) -> int:
        """Width of the task head's output."""
        return len(self.labels) or 1

    def part(self, name: Part) -> Split:
        """Return one of the scored splits."""
        return {"holdout": self.holdout, "validation": self.validation, "test": self.test}[name]


@dataclass(frozen=True)
class TaskSource:
    """One place that tasks come from.

    Attributes:
        summary: one line for people.
        example: a name as a person would type it.
        accepts: whether a task name is this source's.
        read: reads the rows.
        fallback: whether it is asked last, for names that no other source takes.
        files: the files of this machine that a name stands for; None where any machine finds the data by the name.
    """

    summary: str
    example: str
    accepts: Callable[[str], bool]
    read: Callable[[TaskSpec], RawTask]
    fallback: bool = False
    files: Callable[[str], tuple[Path, ...]] | None = None


def assemble(raw: RawTask, spec: TaskSpec) -> TaskData:
    """Check a source's rows, cut the missing splits, and encode labels.

    Raises:
        InvalidInput: empty split, one class only, labels unknown in train, a target that is not a number, or a
            metric that does not fit; every problem is listed.
    """
    named = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    present = {name: rows for name, rows in named.items() if rows is not None}
    problems = [_too_few(name, rows) for name, rows in present.items() if len(rows.first) < LEAST_ROWS]
    if problems:
        raise InvalidInput(*problems)
    metric = _metric(raw, spec)
    if raw.kind == "regression":
        labels: tuple[str, ...] = ()
        encoded = {name: _encode_numbers(rows) for name, rows in present.items()}
    else:
        labels = _labels(raw, present)
        encoded = {name: _encode_classes(rows, labels) for name, rows in present.items()}
    stratify = raw.kind == "classification"
    train = encoded["train"]
    if "test" not in encoded:
        train, encoded["test"] = _cut(train, CUT_SHARE, CUT_MOST, stratify, SPLIT_SEED)
    if "validation" not in encoded:
        train, encoded["validation"] = _cut(train, CUT_SHARE, CUT_MOST, stratify, SPLIT_SEED + 1)
    train, holdout = _cut(train, HOLDOUT_SHARE, HOLDOUT_MOST, stratify, SPLIT_SEED + 2)
    splits = {"train": train, "holdout": holdout, "validation": encoded["validation"], "test": encoded["test"]}
    return TaskData(raw.kind, labels, metric, **splits, fingerprint=_fingerprint(raw.kind, labels, splits))


def _too_few(name: str, rows: Rows) -> Problem:
    return Problem(f"{name} rows of {rows.origin}", len(rows.first), f"at least {LEAST_ROWS} are needed")


def _metric(raw: RawTask, spec: TaskSpec) -> str:
    fitting = sorted(name for name, metric in METRICS.items() if metric.kind == raw.kind)
    name = spec.metric or raw.metric or {"classification": "accuracy", "regression": "pearson_spearman"}[raw.kind]
    if name not in fitting:
        raise InvalidInput(Problem.unknown(f"metric of a {raw.kind}", name, fitting))
    return name


def _labels(raw: RawTask, present: Mapping[str, Rows]) -> tuple[str, ...]:
    counts = Counter(raw.train.targets)
    problems = []
    if len(counts) < 2:
        only = next(iter(counts))
        problems.append(Problem(f"labels of {raw.train.origin}", only, "the only class; at least two are needed"))
    rare = sorted(label for label, count in counts.items() if count < 2)
    if rare and len(counts) >= 2:
        remedy = "in one training row only; give at least two rows of each class"
        problems.append(Problem(f"labels of {raw.train.origin}", rare[:5], remedy))
    for name, rows in present.items():
        unseen = sorted(set(rows.targets) - set(counts))
        if unseen:
            remedy = f"labels of the {name} split that no training row has"
            problems.append(Problem(f"labels of {rows.origin}", unseen[:5], remedy))
    unknown = sorted(set(counts) - set(raw.labels or counts))
    if unknown:
        remedy = f"not a label of this task; known: {', '.join(raw.labels or ())}"
        problems.append(Problem(f"labels of {raw.train.origin}", unknown[:5], remedy))
    if problems:
        raise InvalidInput(*problems)
    return raw.labels or tuple(sorted(counts, key=_natural))


def _natural(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def _encode_classes(rows: Rows, labels: Sequence[str]) -> Split:
    index = {label: i for i, label in enumerate(labels)}
    return _split(rows, np.array([index[target] for target in rows.targets], dtype=np.int64))


def _encode_numbers(rows: Rows) -> Split:
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such
        numbers = np.array([_number(target) for target in rows.targets]).astype(np.float32)
    wrong = (np.flatnonzero(~np.isfinite(numbers)) + 1).tolist()
    if wrong:
        shown = [rows.targets[i - 1] for i in wrong[:3]]
        raise InvalidInput(Problem(f"score of {rows.origin}", shown, f"not a finite number in rows {wrong[:5]}"))
    if len(set(numbers.tolist())) < 2:
        raise InvalidInput(Problem(f"score of {rows.origin}", float(numbers[0]), "the same number in every row"))
    return _split(rows, numbers)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _split(rows: Rows, targets: np.ndarray[tuple[int], np.dtype[np.generic]]) -> Split:
    return Split(tuple(rows.first), None if rows.second is None else tuple(rows.second), targets)


def _cut(rows: Split, share: float, most: int, stratify: bool, seed: int) -> tuple[Split, Split]:
    """Cut rows off at random, by class in proportion, but no class's last row while another class has more."""
    size = max(2, min(most, round(len(rows) * share)))
    # The legacy generator's numbers never change, so neither do the splits.
    order = np.random.RandomState(seed).permutation(len(rows))
    groups = rows.targets[order] if stratify else np.zeros(len(rows))
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    rank = np.empty(len(rows), dtype=np.int64)  # of a row within its class
    rank[np.argsort(group, kind="stable")] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    depth, last = (rank + 0.5) / counts[group], rank == counts[group] - 1
    by_depth = order[np.lexsort((depth, last))]
    return rows.take(np.sort(by_depth[size:])), rows.take(np.sort(by_depth[:size]))


def _fingerprint(kind: Kind, labels: Sequence[str], splits: Mapping[str, Split]) -> str:
    digest = hashlib.sha256(json.dumps([kind, list(labels)]).encode())
    for name, split in splits.items():
        digest.update(json.dumps([name, split.first, split.second, split.targets.tolist()]).encode())
    return digest.hexdigest()[:16]
