"""From the columns of tables to the rows of a task: which columns, and whether their values can be trained on.

Shared by every source that reads tables with named columns. A value becomes text the same way everywhere: the label
``1`` of a JSON file, ``"1"`` of a CSV file and ``1.0`` of a Parquet file are one class.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TaskSpec
from autopeft.tasks.base import Kind, RawTask, Rows

# What a split may be called, and what it is here.
SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}

# Columns that are found without being named, the more telling first; case does not matter.
PAIRS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
)
TEXTS = ("text", "sentence", "review", "question", "content", "document")
LABELS = ("label", "labels", "class", "category", "intent", "target")
SCORES = ("score", "similarity", "rating")

SHOWN = 5  # row numbers, names and the like in one message


@dataclass(frozen=True)
class Table:
    """Rows with named columns, read a column at a time because most columns of a wide table are never needed.

    Attributes:
        origin: what to call the table in an error, as ``reviews.csv``.
        names: its columns.
        read: the values of one column; they are of any type.
        first: number of its first row, where it is a part of a longer one.
    """

    origin: str
    names: tuple[str, ...]
    read: Callable[[str], Sequence[object]]
    first: int = 1


@dataclass(frozen=True)
class Columns:
    """The columns of a task: one or two of text, and the one to predict."""

    text: tuple[str, ...]
    target: str
    kind: Kind

    @property
    def role(self) -> str:
        """Field of :class:`TaskSpec` that names the target."""
        return "label" if self.kind == "classification" else "score"


def raw_task(tables: Mapping[str, Table], spec: TaskSpec) -> RawTask:
    """Read the columns that the task needs.

    Args:
        tables: by split; ``train`` is among them.
        spec: names the columns, or leaves them to be found.

    Raises:
        InvalidInput: with every column that is wrong, or else with every column whose values are.
    """
    columns = find_columns(spec, tables["train"].names, tables["train"].origin)
    problems = [problem for table in tables.values() for problem in _lacking(table, columns)]
    if problems:
        raise InvalidInput(*problems)
    read = {split: _rows(table, columns) for split, table in tables.items()}
    problems = [problem for _, found in read.values() for problem in found]
    if problems:
        raise InvalidInput(*problems)
    rows = {split: rows for split, (rows, _) in read.items()}
    return RawTask(columns.kind, rows["train"], rows.get("validation"), rows.get("test"))


def find_texts(table: Table, text: Sequence[str]) -> tuple[str, ...]:
    """Return the one or two text columns of a table to predict on; found by common names where none are named.

    Raises:
        InvalidInput: there are none.
    """
    names = tuple(text) or _common_texts(table.names)
    problems = [_no_column("text", name, table.names, table.origin) for name in names if name not in table.names]
    if not names:
        problems.append(_none_found("text", table.names, table.origin, TEXTS))
    if problems:
        raise InvalidInput(*problems)
    return names


def read_texts(table: Table, names: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Read the columns of a table that :func:`find_texts` has found.

    Raises:
        InvalidInput: a row lacks its text.
    """
    problems: list[Problem] = []
    columns = [_strings(table, name, "text", problems) for name in names]
    if problems:
        raise InvalidInput(*problems)
    return columns[0], columns[1] if len(columns) == 2 else None


def find_columns(spec: TaskSpec, names: Sequence[str], origin: str) -> Columns:
    """Return the columns that the spec names, or those with common names where it names none.

    Raises:
        InvalidInput: columns that are not there, too many of them, or none that could be meant.
    """
    problems = _misnamed(spec, names, origin)
    text = spec.text or _common_texts([name for name in names if name not in (spec.label, spec.score)])
    if not text:
        problems.append(_none_found("text", names, origin, TEXTS))
    left = [name for name in names if name not in text]
    label = spec.label or (None if spec.score else _common(left, LABELS))
    score = spec.score or (None if label else _common(left, SCORES))
    target = label or score
    if target is None:
        problems.append(_none_found("label or score", names, origin, LABELS + SCORES))
    if problems or target is None:
        raise InvalidInput(*problems)
    return Columns(text, target, "classification" if label else "regression")


def _misnamed(spec: TaskSpec, names: Sequence[str], origin: str) -> list[Problem]:
    problems = []
    if len(spec.text) > 2:
        problems.append(Problem("text", list(spec.text), "more than two columns; a row has one text or two"))
    if spec.label and spec.score:
        remedy = "give one of them: label for classes, score for a number to predict"
        problems.append(Problem("label and score", [spec.label, spec.score], remedy))
    named = [("text", name) for name in spec.text]
    named += [(role, name) for role, name in (("label", spec.label), ("score", spec.score)) if name]
    for i, (role, name) in enumerate(named):
        if name not in names:
            problems.append(_no_column(role, name, names, origin))
        elif name in (other for _, other in named[:i]):
            problems.append(Problem(role, name, "the same column twice; each one has one part in a task"))
    return problems


def _no_column(role: str, name: str, names: Sequence[str], origin: str) -> Problem:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return Problem(role, name, f"no such column in {origin}; {hint}columns: {_listed(names)}")


def _none_found(role: str, names: Sequence[str], origin: str, common: Sequence[str]) -> Problem:
    remedy = f"no column of {origin} has a common name ({', '.join(common)}); name one of: {_listed(names)}"
    return Problem(role, None, remedy)


def _common_texts(names: Sequence[str]) -> tuple[str, ...]:
    for pair in PAIRS:
        found = tuple(_common(names, (name,)) for name in pair)
        if found[0] and found[1]:
            return found[0], found[1]
    single = _common(names, TEXTS)
    return (single,) if single else ()


def _common(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def _lacking(table: Table, columns: Columns) -> list[Problem]:
    named = [("text", name) for name in columns.text] + [(columns.role, columns.target)]
    return [_no_column(role, name, table.names, table.origin) for role, name in named if name not in table.names]


def _rows(table: Table, columns: Columns) -> tuple[Rows, list[Problem]]:
    problems: list[Problem] = []
    texts = [_strings(table, name, "text", problems) for name in columns.text]
    targets = _strings(table, columns.target, columns.role, problems)
    if columns.kind == "classification":
        targets = [_class_name(target) for target in targets]
    return Rows(texts[0], texts[1] if len(texts) == 2 else None, targets, table.origin), problems


def _strings(table: Table, name: str, role: str, problems: list[Problem]) -> list[str]:
    """Return a column as text; what is missing or no text is "" and becomes a problem."""
    strings = []
    empty, nested, unclean = [], [], []
    for row, value in enumerate(table.read(name), start=table.first):
        string = _string(value)
        strings.append(string or "")
        if string is None:
            nested.append(row)
        elif not string.strip():
            empty.append(row)
        elif not _clean(string):
            unclean.append(row)
    found = (
        (empty, "empty or missing in {}; fill them in or remove those rows"),
        (nested, "neither text nor a number in {}; give a column of plain values"),
        (unclean, "a NUL byte or half a surrogate pair in {}; is the file damaged, or not a text file?"),
    )
    field = f"{role} of {table.origin}"
    problems.extend(Problem(field, name, remedy.format(_numbered(rows))) for rows, remedy in found if rows)
    return strings


def _string(value: object) -> str | None:
    """Return a plain value as text: "" if it is missing, None if it is not plain."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float, Decimal)) else None


def _class_name(target: str) -> str:
    # Whole numbers become floats wherever a table once held a missing value.
    return re.sub(r"\A(-?\d+)\.0+\Z", r"\1", target.strip())


def _clean(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _numbered(rows: Sequence[int]) -> str:
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    noun = "row" if len(rows) == 1 else "rows"
    return f"{noun} {', '.join(map(str, rows[:SHOWN]))}{more} (the first row of data is 1)"


def _listed(names: Sequence[str], most: int = 30) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
