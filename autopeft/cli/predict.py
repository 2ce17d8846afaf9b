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
            "--input",
            help="A .csv, .tsv, .jsonl or .parquet file, or one text a line in a .txt file or on stdin (-).",
            metavar="FILE",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Predict every row of a file with a trained model.

    One line a row on stdout, in the file's order: the label and its probability with a tab between them, or the
    score. With --json one object a line, with the probability of every label.
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
    if str(path) != "-" and path.suffix.lower() != ".txt":
        return read_texts(read_table(path, encoding), text)
    try:
        content = sys.stdin.read() if str(path) == "-" else path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(Problem("input", str(path), f"not {encoding} at byte {error.start}")) from error
    lines = content.removeprefix("\ufeff").rstrip().split("\n")  # not splitlines, which also breaks within a text
    blank = [number for number, line in enumerate(lines, start=1) if not line.strip()]
    if lines == [""]:
        raise InvalidInput(Problem("input", str(path), "no text in it"))
    if blank:  # left out, every prediction below would stand beside another line
        shown = ", ".join(map(str, blank[:5])) + (" and more" if len(blank) > 5 else "")
        raise InvalidInput(Problem("input", str(path), f"no text in line {shown}; fill it in or remove it"))
    return lines, None
