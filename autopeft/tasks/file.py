"""Tasks from files of one's own: a table, or a folder with one table a split.

A folder holds ``train`` and, if there are any, ``validation`` (or ``valid``, ``val``, ``dev``) and ``test``, each with
a suffix of :data:`autopeft.tasks.formats.READERS`. Splits that are not there are cut from train, as they are from a
single file. Other files of the folder are left alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TaskSpec
from autopeft.tasks.base import RawTask, TaskSource
from autopeft.tasks.formats import READERS, missing_path, read_table
from autopeft.tasks.tabular import SPLITS, Table, raw_task


def _accepts(name: str) -> bool:
    looks_like_path = name.startswith((".", "~")) or "/" in name or os.sep in name
    return looks_like_path or Path(name).suffix.lower() in READERS or os.path.exists(name)


def _read(spec: TaskSpec) -> RawTask:
    path = Path(os.path.expanduser(spec.name))
    if not os.path.exists(path):
        raise InvalidInput(missing_path("task", spec.name, path))
    tables: dict[str, Table] = {}
    problems: list[Problem] = []
    for split, file in _split_files(path).items():
        try:
            tables[split] = read_table(file, spec.encoding)
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(*problems)
    return raw_task(tables, spec)


def _files(name: str) -> tuple[Path, ...]:
    return tuple(_split_files(Path(os.path.expanduser(name))).values())


def _split_files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise InvalidInput(Problem("task", str(path), "neither a file nor a folder"))
    claims: dict[str, list[Path]] = {split: [] for split in SPLITS.values()}
    for file in sorted(path.iterdir()):
        if file.stem.lower() in SPLITS and file.suffix.lower() in READERS:
            claims[SPLITS[file.stem.lower()]].append(file)
    problems = [
        Problem(f"{split} of {path}", [file.name for file in files], "more than one file; leave one")
        for split, files in claims.items()
        if len(files) > 1
    ]
    if not claims["train"]:
        there = ", ".join(sorted(file.name for file in path.iterdir())[:10]) or "nothing"
        remedy = f"no train file: name it train with a suffix of {', '.join(READERS)}; there is: {there}"
        problems.append(Problem("task", str(path), remedy))
    if problems:
        raise InvalidInput(*problems)
    return {split: files[0] for split, files in claims.items() if files}


TASK_SOURCE = TaskSource(
    summary="a CSV, TSV, JSONL or Parquet file, or a folder with train, validation and test files",
    example="reviews.csv",
    accepts=_accepts,
    read=_read,
    fallback=True,
    files=_files,
)
