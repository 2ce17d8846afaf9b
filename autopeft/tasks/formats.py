"""The file formats of tables: CSV, TSV, JSONL and Parquet; none of them can run code when read.

Text formats are read by the line, so that an error can name the line. CSV quotes as RFC 4180 says. In TSV a quote may
also be a plain character (GLUE's files are so): it is one where honouring it breaks the table.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from autopeft.errors import InvalidInput, Problem
from autopeft.tasks.tabular import SHOWN, Table

MOST_BYTES = 2 * 1024**3
MOST_ROWS = 5_000_000
ENCODINGS = ("utf-8", "utf-16", "ascii", "latin-1", "cp1252", "cp1251", "gb18030", "big5", "shift_jis", "euc-kr")


def read_table(path: Path, encoding: str) -> Table:
    """Read one file by its suffix; ``encoding`` is that of the text formats.

    Raises:
        InvalidInput: no such format or encoding; too large, empty, broken, or not in that encoding.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InvalidInput(Problem.unknown(f"suffix of {path.name}", suffix, READERS))
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InvalidInput(Problem(path.name, f"{size} bytes", f"at most {MOST_BYTES} bytes; give a part of it"))
        if size == 0:
            raise InvalidInput(_empty(path))
        return READERS[suffix](path, encoding)
    except OSError as error:
        raise InvalidInput(Problem(path.name, str(path), f"cannot be read: {error.strerror or error}")) from error


def missing_path(field: str, name: str, path: Path) -> Problem:
    """Return the problem of a file or folder that is not there, with the nearest names beside it."""
    place = Path(os.path.abspath(path))
    if not os.path.isdir(place.parent):
        return Problem(field, name, f"no such file or folder; there is no folder {place.parent}")
    near = difflib.get_close_matches(place.name, os.listdir(place.parent), n=3, cutoff=0.5)
    hint = f"; near it: {', '.join(near)}" if near else ""
    return Problem(field, name, f"no such file or folder; looked at {place}{hint}")


def _read_csv(path: Path, encoding: str) -> Table:
    return _table_of_columns(path, _delimited(path, encoding, ",", csv.QUOTE_MINIMAL))


def _read_tsv(path: Path, encoding: str) -> Table:
    try:
        columns = _delimited(path, encoding, "\t", csv.QUOTE_MINIMAL)
        # A field that holds both was made of several rows: its quotes were not meant as such.
        if not any("\t" in field and "\n" in field for column in columns.values() for field in column):
            return _table_of_columns(path, columns)
    except InvalidInput:
        pass  # reading it without quotes says what is wrong, if it still is
    return _table_of_columns(path, _delimited(path, encoding, "\t", csv.QUOTE_NONE))


def _delimited(path: Path, encoding: str, delimiter: str, quoting: Literal[0, 3]) -> dict[str, list[str]]:
    with _opened(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        ragged: list[int] = []
        read = 0  # lines before the row that is being read
        try:
            header = _header(path, next(reader, []))
            columns: list[list[str]] = [[] for _ in header]
            read = reader.line_num
            for fields in reader:
                if fields and len(fields) != len(header):
                    ragged.append(read + 1)
                elif fields:
                    _check_rows(path, len(columns[0]) + 1)
                    for column, field in zip(columns, fields, strict=True):
                        column.append(field)
                read = reader.line_num
        except csv.Error as error:
            remedy = f"broken in the row that starts here ({error}); is a quote not closed?"
            raise InvalidInput(Problem(path.name, f"line {read + 1}", remedy)) from error
    if ragged:
        raise InvalidInput(_ragged(path, ragged, len(header)))
    if not columns[0]:
        raise InvalidInput(Problem(path.name, header, "a header and no rows"))
    return dict(zip(header, columns, strict=True))


def _header(path: Path, fields: list[str]) -> list[str]:
    names = [name.strip() for name in fields]
    if not any(names):
        raise InvalidInput(_empty(path))
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twice:
        raise InvalidInput(Problem(f"columns of {path.name}", twice, "the same name twice; rename one"))
    if len(names) == 1 and (";" in names[0] or "\t" in names[0] or "," in names[0]):
        remedy = "one column only; CSV is separated by commas and TSV by tabs: save it again, or change the suffix"
        raise InvalidInput(Problem(f"columns of {path.name}", names[0], remedy))
    return names


def _ragged(path: Path, lines: list[int], fields: int) -> Problem:
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    shown = f"line {', '.join(map(str, lines[:SHOWN]))}{more}"
    return Problem(path.name, shown, f"not {fields} fields as in the header; put quotes around texts with separators")


def _table_of_columns(path: Path, columns: dict[str, list[str]]) -> Table:
    return Table(path.name, tuple(columns), columns.__getitem__)


def _read_jsonl(path: Path, encoding: str) -> Table:
    rows: list[dict[str, object]] = []
    problems: list[Problem] = []
    with _opened(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                _add_json(path, number, line, rows, problems)
                _check_rows(path, len(rows))
            if len(problems) == SHOWN:
                break
    if problems:
        raise InvalidInput(*problems)
    if not rows:
        raise InvalidInput(_empty(path))
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(path.name, tuple(names), lambda name: [row.get(name) for row in rows])


def _add_json(path: Path, number: int, line: str, rows: list[dict[str, object]], problems: list[Problem]) -> None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        problems.append(Problem(path.name, f"line {number}", f"not JSON ({error}); every line is one JSON object"))
        return
    if isinstance(row, dict):
        rows.append(row)
    else:
        remedy = f"{type(row).__name__}, not an object; every line is one JSON object"
        problems.append(Problem(path.name, f"line {number}", remedy))


def _read_parquet(path: Path, encoding: str) -> Table:
    with _parquet_errors(path):
        file = pyarrow.parquet.ParquetFile(path)
        rows, names = file.metadata.num_rows, tuple(file.schema_arrow.names)
    _check_rows(path, rows)
    if not rows:
        raise InvalidInput(Problem(path.name, list(names), "columns and no rows"))

    def read(name: str) -> list[object]:
        with _parquet_errors(path):
            values: list[object] = file.read(columns=[name]).column(name).to_pylist()
        return values

    return Table(path.name, names, read)


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, ValueError) as error:
        raise InvalidInput(Problem(path.name, None, f"not a sound Parquet file ({error}); write it again")) from error


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[TextIO]:
    try:
        plain = codecs.lookup(encoding).name
        "a".encode(plain)  # some codecs are not for text, as rot13
    except (LookupError, ValueError) as error:
        raise InvalidInput(Problem.unknown("encoding", encoding, ENCODINGS)) from error
    try:
        # Excel begins UTF-8 with a byte-order mark.
        with path.open(encoding="utf-8-sig" if plain == "utf-8" else plain, newline="") as file:
            yield file
    except UnicodeError as error:
        raise InvalidInput(_undecodable(path, plain)) from error


def _undecodable(path: Path, encoding: str) -> Problem:
    remedy = f"not {encoding}; save the file as UTF-8, or give the encoding that it has (cp1252 is common on Windows)"
    if "\n".encode(encoding) == b"\n":
        offset = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as error:
                    shown = f"byte 0x{line[error.start]:02x} at offset {offset + error.start}, line {number}"
                    return Problem(f"encoding of {path.name}", shown, remedy)
                offset += len(line)
    return Problem(f"encoding of {path.name}", encoding, remedy)


def _check_rows(path: Path, rows: int) -> None:
    if rows > MOST_ROWS:
        raise InvalidInput(Problem(path.name, f"more than {MOST_ROWS} rows", "too many; give a part of them"))


def _empty(path: Path) -> Problem:
    return Problem(path.name, None, "empty; it needs rows with named columns")


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
