"""One training run with everything it depends on: what a search leaves for later ones, and what a table is made of.

A table of evaluations is a file of JSON lines, one evaluation each, compressed if its name ends in ``.gz``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autopeft.architecture import Architecture
from autopeft.errors import InvalidInput, Problem
from autopeft.messages import Fidelity, Message, Precision, TaskSpec, TrainingSettings, TrialReport
from autopeft.storage import write_atomically


class Conditions(Message):
    """What a run's score depends on beside its architecture and seed.

    Attributes:
        model: as it was asked for; ``model_hash`` is what it was.
        task: as it was asked for; ``task_hash`` is what its rows were.
        metric: of the scores.
        table: file that training was replayed from; None where the model was trained.
    """

    model: str
    model_hash: str
    task: TaskSpec
    task_hash: str
    metric: str
    fidelity: Fidelity
    training: TrainingSettings = TrainingSettings()
    precision: Precision = "auto"
    table: str | None = None

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that are equal where runs compare: names of the model and the task are not in them."""
        told = self.model_dump(mode="json", exclude={"model", "task"})
        told["max_length"] = self.task.max_length
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class Evaluation(Message):
    """One training run and what came of it.

    Attributes:
        architecture: ``Architecture.to_dict()``.
        versions: of the packages that the result depends on.
    """

    conditions: Conditions
    architecture: dict[str, Any]
    seed: int
    report: TrialReport
    versions: dict[str, str] = {}

    @cached_property
    def decoded(self) -> Architecture:
        """The architecture as a value."""
        return Architecture.from_dict(self.architecture)


def write_evaluations(path: Path, evaluations: Iterable[Evaluation]) -> int:
    """Write a table, in place of the file that may be there, and return how many there are."""
    lines = [line(evaluation) for evaluation in evaluations]
    data = "".join(lines).encode()
    write_atomically(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return len(lines)


def read_evaluations(path: Path) -> Iterator[Evaluation]:
    """Yield a table's evaluations; a last line that a crash cut short is left out.

    Raises:
        InvalidInput: there is no such file, or another line is no evaluation.
    """
    if not path.is_file():
        raise InvalidInput(Problem("table", str(path), "no such file; `autopeft evaluations --out` writes one"))
    for number, text in enumerate(_lines(path), 1):
        try:
            yield Evaluation.model_validate_json(text)
        except ValidationError as error:
            remedy = f"line {number} is no evaluation: {error.errors()[0]['msg']}"
            raise InvalidInput(Problem("table", str(path), remedy)) from error


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file that have an end."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        try:
            for text in file:
                if text.endswith(b"\n"):
                    yield text.decode()
        except EOFError:  # compressed, and cut short
            return
        except (gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
            remedy = f"no table: {error}; `autopeft evaluations --out` writes one"
            raise InvalidInput(Problem("table", str(path), remedy)) from error


def line(evaluation: Evaluation) -> str:
    """Return an evaluation's line in a table; what is as by default is left out."""
    return evaluation.model_dump_json(exclude_defaults=True) + "\n"
