"""``autopeft predict``: use a trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.options import AsJson


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `autopeft train` wrote.")],
    input_file: Annotated[
        Path,
        typer.Option(
            "--input", help="A .csv, .tsv, .jsonl or .parquet file, or one text a line in a .txt file or on stdin (-)."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Predict every row of a file: the label and its probability, or the score, one line a row on stdout.

    With --json, one object a line, with the probability of every label.
    """
    import json

    from autopeft.trained import TrainedModel

    model = TrainedModel.load(folder)
    first, second = _read(input_file, model.recipe.task.text, model.recipe.task.encoding)
    for prediction in model.predict(first, second):
        if as_json:
            known = {key: value for key, value in vars(prediction).items() if value is not None}
            print(json.dumps(known))
        elif prediction.probabilities is not None and prediction.label is not None:
            print(f"{prediction.label}\t{prediction.probabilities[prediction.label]:.4f}")
        else:
            print(f"{prediction.score:.6g}")


def _read(path: Path, text: tuple[str, ...], encoding: str) -> tuple[list[str], list[str] | None]:
    from autopeft.errors import InvalidInput, Problem
    from autopeft.tasks.formats import missing_path, read_table
    from autopeft.tasks.tabular import read_texts

    if str(path) != "-" and not path.is_file():
        raise InvalidInput(missing_path("input", str(path), path))
    if str(path) != "-" and path.suffix != ".txt":
        return read_texts(read_table(path, encoding), text)
    try:
        content = sys.stdin.read() if str(path) == "-" else path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(Problem("input", str(path), f"not {encoding} at byte {error.start}")) from error
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise InvalidInput(Problem("input", str(path), "no text in it"))
    return lines, None
