"""The texts of a file to predict on, a part at a time, so that a file of any length needs little memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from autopeft.errors import InvalidInput, Problem
from autopeft.tasks.formats import missing_path, opened, read_parts
from autopeft.tasks.tabular import find_texts, read_texts

Texts = tuple[list[str], list[str] | None]
STDIN = Path("-")
PLAIN = ".txt"


def texts_in(path: Path, columns: tuple[str, ...], encoding: str, rows: int) -> Iterator[Texts]:
    """Yield the first and the second texts (None where a row has one) of a file, at most ``rows`` rows at a time.

    Everything that is wrong with a file is told before its first part; with stdin, when it is met.

    Args:
        path: a table, a ``.txt`` file with one text a line, or ``-``, which is such lines on stdin.
        columns: of a table; found by common names if empty.
        encoding: of a file.
        rows: of a part.

    Raises:
        InvalidInput: there is no such file, it is broken, or rows have no text.
    """
    if path == STDIN:
        yield from _stdin(rows)
        return
    if not path.is_file():
        raise InvalidInput(missing_path("input", str(path), path))
    read = _plain_file if path.suffix.lower() == PLAIN else _table
    for _ in read(path, columns, encoding, rows):
        pass
    yield from read(path, columns, encoding, rows)


def _stdin(rows: int) -> Iterator[Texts]:
    try:
        yield from _lines(sys.stdin, str(STDIN), rows)
    except UnicodeDecodeError as error:
        raise InvalidInput(Problem("input", str(STDIN), f"not {error.encoding}")) from error


def _table(path: Path, columns: tuple[str, ...], encoding: str, rows: int) -> Iterator[Texts]:
    for part in read_parts(path, encoding, rows):
        columns = find_texts(part, columns)
        yield read_texts(part, columns)


def _plain_file(path: Path, columns: tuple[str, ...], encoding: str, rows: int) -> Iterator[Texts]:
    with opened(path, encoding) as file:
        yield from _lines(file, str(path), rows)


def _lines(lines: Iterable[str], origin: str, rows: int) -> Iterator[Texts]:
    part: list[str] = []
    blank: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            blank.append(number)  # a mistake where another text follows, and else the end of the file
            continue
        if blank:  # left out, every prediction below would stand beside another line
            shown = ", ".join(map(str, blank[:5])) + (" and more" if len(blank) > 5 else "")
            raise InvalidInput(Problem("input", origin, f"no text in line {shown}; fill it in or remove it"))
        if len(part) == rows:
            yield part, None
            part = []
        part.append(line.removeprefix("\ufeff").rstrip("\r\n"))
    if not part:
        raise InvalidInput(Problem("input", origin, "no text in it"))
    yield part, None
