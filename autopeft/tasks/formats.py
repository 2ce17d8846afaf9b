"""The file formats of tables: CSV, TSV, JSONL and Parquet; none of them can run code when read.

A table is read whole, within bounds, or as a series of parts, from a file of any size.

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
from functools import partial
from pathlib import Path
from typing import Literal, TextIO

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from autopeft.errors import InvalidInput, Problem
from autopeft.tasks.tabular import SHOWN, Table

MOST_BYTES = 2 * 1024**3
MOST_ROWS = 5_000_000
CHECKED_ROWS = 1000  # at a time, where rows are only looked at
Row = dict[str, object]
ENCODINGS = ("utf-8", "utf-16", "ascii", "latin-1", "cp1252", "cp1251", "gb18030", "big5", "shift_jis", "euc-kr")


def read_table(path: Path, encoding: str) -> Table:
    """Read one file by its suffix; ``encoding`` is that of the text formats.

    Raises:
        InvalidInput: no such format or encoding; too large, empty, broken, or not in that encoding.
    """
    with _readable(path) as (suffix, size):
        if size > MOST_BYTES:
            raise InvalidInput(Problem(path.name, f"{size} bytes", f"at most {MOST_BYTES} bytes; give a part of it"))
        return READERS[suffix](path, encoding)


def read_parts(path: Path, encoding: str, rows: int) -> Iterator[Table]:
    """Read one file as tables of at most ``rows`` rows each, of which one is held at a time.

    A mistake is told when it is met, after the parts before it. The columns of a part of JSONL are those seen so far.

    Raises:
        InvalidInput: as :func:`read_table`, but of any size.
    """
    with _readable(path) as (suffix, _):
        yield from _PARTS[suffix](path, encoding, rows)


@contextmanager
def _readable(path: Path) -> Iterator[tuple[str, int]]:
    """Give the suffix and the size in bytes of a file that can be read."""
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InvalidInput(Problem.unknown(f"suffix of {path.name}", suffix, READERS))
    try:
        size = path.stat().st_size
        if size == 0:
            raise InvalidInput(_empty(path))
        yield suffix, size
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


def _csv(path: Path, encoding: str, rows: int | None) -> Iterator[Table]:
    return _delimited(path, encoding, ",", csv.QUOTE_MINIMAL, rows)


def _tsv(path: Path, encoding: str, rows: int | None) -> Iterator[Table]:
    # Parts are given out before the rest is read: for them the file is looked at first, and then read again.
    looked_at = CHECKED_ROWS if rows else None
    table = _last_if_quoted(_delimited(path, encoding, "\t", csv.QUOTE_MINIMAL, looked_at))
    if table is None:
        yield from _delimited(path, encoding, "\t", csv.QUOTE_NONE, rows)
    elif rows is None:
        yield table
    else:
        yield from _delimited(path, encoding, "\t", csv.QUOTE_MINIMAL, rows)


def _last_if_quoted(tables: Iterator[Table]) -> Table | None:
    """Return the last table of a TSV file whose quotes are meant as such; None where they are plain characters."""
    try:
        for table in tables:
            fields = (str(field) for name in table.names for field in table.read(name))
            # A field that holds both was made of several rows: its quotes were not meant as such.
            if any("\t" in field and "\n" in field for field in fields):
                return None
    except InvalidInput:
        return None  # reading it without quotes says what is wrong, if it still is
    return table


def _delimited(path: Path, encoding: str, delimiter: str, quoting: Literal[0, 3], rows: int | None) -> Iterator[Table]:
    """Yield tables of ``rows`` rows, or the one of all."""
    with opened(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        ragged: list[int] = []
        read = 0  # lines before the row that is being read
        first = 1  # number of the part's first row
        try:
            header = _header(path, next(reader, []))
            columns: list[list[str]] = [[] for _ in header]
            read = reader.line_num
            for fields in reader:
                if fields and len(fields) != len(header):
                    ragged.append(read + 1)
                elif fields:
                    if rows is None:
                        _check_rows(path, len(columns[0]) + 1)
                    elif len(columns[0]) == rows:
                        yield _table_of_columns(path, header, columns, first)
                        columns, first = [[] for _ in header], first + rows
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
    yield _table_of_columns(path, header, columns, first)


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


def _table_of_columns(path: Path, header: list[str], columns: list[list[str]], first: int) -> Table:
    by_name = dict(zip(header, columns, strict=True))
    return Table(path.name, tuple(by_name), by_name.__getitem__, first)


def _jsonl(path: Path, encoding: str, rows: int | None) -> Iterator[Table]:
    found: list[Row] = []
    names: dict[str, None] = {}
    first = 1
    problems: list[Problem] = []
    with opened(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if len(found) == rows and not problems:
                yield _table_of_rows(path, names, found, first)
                found, first = [], first + len(found)
            if line.strip():
                _add_json(path, number, line, found, problems)
            if rows is None:
                _check_rows(path, len(found))
            if len(problems) == SHOWN:
                break
    if problems:
        raise InvalidInput(*problems)
    if not found:
        raise InvalidInput(_empty(path))
    yield _table_of_rows(path, names, found, first)


def _table_of_rows(path: Path, names: dict[str, None], rows: list[Row], first: int) -> Table:
    """Return the rows as a table, having added their columns to the names."""
    names.update(dict.fromkeys(name for row in rows for name in row))
    return Table(path.name, tuple(names), lambda name: [row.get(name) for row in rows], first)


def _add_json(path: Path, number: int, line: str, rows: list[Row], problems: list[Problem]) -> None:
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


def _open_parquet(path: Path) -> tuple[pyarrow.parquet.ParquetFile, tuple[str, ...]]:
    with _parquet_errors(path):
        file = pyarrow.parquet.ParquetFile(path)
        names = tuple(file.schema_arrow.names)
    if not file.metadata.num_rows:
        raise InvalidInput(Problem(path.name, list(names), "columns and no rows"))
    return file, names


def _read_parquet(path: Path, encoding: str) -> Table:
    file, names = _open_parquet(path)
    _check_rows(path, file.metadata.num_rows)

    def read(name: str) -> list[object]:
        with _parquet_errors(path):
            values: list[object] = file.read(columns=[name]).column(name).to_pylist()
        return values

    return Table(path.name, names, read)


def _parquet(path: Path, encoding: str, rows: int) -> Iterator[Table]:
    file, names = _open_parquet(path)
    first = 1
    with _parquet_errors(path):
        for batch in file.iter_batches(batch_size=rows):
            yield Table(path.name, names, partial(_values, batch), first)
            first += batch.num_rows


def _values(batch: pyarrow.RecordBatch, name: str) -> list[object]:
    values: list[object] = batch.column(name).to_pylist()
    return values


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, ValueError) as error:
        raise InvalidInput(Problem(path.name, None, f"not a sound Parquet file ({error}); write it again")) from error


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a text file, its line ends as they are; what is not in the encoding becomes an InvalidInput."""
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


def _whole(parts: Callable[[Path, str, int | None], Iterator[Table]]) -> Callable[[Path, str], Table]:
    def read(path: Path, encoding: str) -> Table:
        (table,) = parts(path, encoding, None)
        return table

    return read


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".csv": _whole(_csv),
    ".tsv": _whole(_tsv),
    ".jsonl": _whole(_jsonl),
    ".parquet": _read_parquet,
}
_PARTS: dict[str, Callable[[Path, str, int], Iterator[Table]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
