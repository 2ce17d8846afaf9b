"""``autopeft predict``: use a trained model."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from autopeft.cli.options import AsJson

if TYPE_CHECKING:
    from autopeft.trained import Prediction

ROWS = 1024  # read, predicted and written at a time
Writer = Callable[["Prediction"], object]


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `autopeft train` wrote.")],
    input_file: Annotated[
        Path,
        typer.Option(
            "--input",
            help="A .csv, .tsv, .jsonl or .parquet file, or one text a line in a .txt file or on stdin (-).",
            metavar="FILE",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a .csv or .jsonl file in place of stdout; one that is there is replaced.", metavar="FILE"
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows that the model computes at a time.", min=1, metavar="N")] = 64,
    as_json: AsJson = False,
) -> None:
    """Predict every row of a file with a trained model.

    One line a row on stdout, in the file's order: the label and its probability with a tab between them, or the
    score. With --json one object a line, with the probability of every label. Files of any length are read in parts.
    """
    from autopeft.tasks.texts import texts_in
    from autopeft.trained import TrainedModel

    _check_out(out, input_file)
    model = TrainedModel.load(folder)
    task = model.recipe.task
    parts = texts_in(input_file, task.text, task.encoding, ROWS)

    def predict(write: Writer) -> None:
        for first, second in parts:
            for prediction in model.predict(first, second, batch_size):
                write(prediction)

    if out is None:
        predict(_write_json if as_json else _write_line)
    else:
        _into(out, predict)


def _check_out(out: Path | None, input_file: Path) -> None:
    from autopeft.errors import InvalidInput, Problem

    if out is None:
        return
    if out.suffix.lower() not in _FILES:
        raise InvalidInput(Problem.unknown("suffix of out", out.suffix, _FILES))
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InvalidInput(Problem("out", str(out), "give a file in a folder that is there"))
    if out.exists() and input_file.exists() and out.samefile(input_file):
        raise InvalidInput(Problem("out", str(out), "this is the input; choose another name"))


def _into(out: Path, predict: Callable[[Writer], None]) -> None:
    """Let predictions be written into a file that is there when all of them are in it."""
    partial = out.with_name(f".{out.name}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            predict(_FILES[out.suffix.lower()](file))
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    print(f"wrote {out}", file=sys.stderr)


def _csv_writer(file: TextIO) -> Writer:
    writer = csv.writer(file, lineterminator="\n")
    headed = False

    def write(prediction: Prediction) -> None:
        nonlocal headed
        if not headed:
            writer.writerow(("score",) if prediction.label is None else ("label", "probability"))
            headed = True
        writer.writerow(_cells(prediction))

    return write


def _jsonl_writer(file: TextIO) -> Writer:
    return lambda prediction: file.write(_object(prediction) + "\n")


_FILES: dict[str, Callable[[TextIO], Writer]] = {".csv": _csv_writer, ".jsonl": _jsonl_writer}


def _write_json(prediction: Prediction) -> None:
    print(_object(prediction))


def _write_line(prediction: Prediction) -> None:
    print(*_cells(prediction), sep="\t")


def _object(prediction: Prediction) -> str:
    return json.dumps({key: value for key, value in vars(prediction).items() if value is not None})


def _cells(prediction: Prediction) -> tuple[str, ...]:
    if prediction.probabilities is not None and prediction.label is not None:
        return prediction.label, f"{prediction.probabilities[prediction.label]:.4f}"
    return (f"{prediction.score:.6g}",)
