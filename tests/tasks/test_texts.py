"""The texts to predict on: the same in parts as whole, mistakes before the first part, and little memory."""

import io
import json
import tracemalloc

import pandas
import pytest

from autopeft.errors import InvalidInput
from autopeft.tasks.formats import read_table
from autopeft.tasks.tabular import find_texts, read_texts
from autopeft.tasks.texts import STDIN, texts_in

TEXTS = ["plain", "with, a comma", 'with "quotes"', "two\nlines", "é and 日本", "  spaces  ", "last"]


def joined(parts):
    first, second = [], []
    for one, two in parts:
        first.extend(one)
        second.extend(two or [])
    return first, second


def write(path, texts, **more):
    frame = pandas.DataFrame({"id": range(len(texts)), "text": texts, **more})
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }[path.suffix]()
    return path


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_parts_of_any_size_add_up_to_the_table(suffix, rows, tmp_path):
    path = write(tmp_path / f"new{suffix}", TEXTS)
    parts = list(texts_in(path, (), "utf-8", rows))
    assert [len(first) for first, _ in parts] == [min(rows, 7 - i) for i in range(0, 7, rows)]
    table = read_table(path, "utf-8")
    assert joined(parts) == (read_texts(table, find_texts(table, ()))[0], [])
    assert joined(parts)[0] == TEXTS


def test_pairs_stay_together(tmp_path):
    path = write(tmp_path / "new.csv", TEXTS, other=TEXTS[::-1])
    assert joined(texts_in(path, ("text", "other"), "utf-8", 3)) == (TEXTS, TEXTS[::-1])


def test_a_quote_in_tsv_is_a_plain_character_in_every_part_if_it_is_in_one(tmp_path):
    path = tmp_path / "new.tsv"
    path.write_text('id\ttext\n1\ta "quoted" word\n2\t"b\n3\tc\n4\t"d\n5\te\n')
    assert joined(texts_in(path, (), "utf-8", 2))[0] == ['a "quoted" word', '"b', "c", '"d', "e"]


def test_the_column_that_is_found_first_is_read_to_the_end(tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"text": "a"}\n{"sentence1": "x", "sentence2": "y", "text": "b"}\n')
    assert joined(texts_in(path, (), "utf-8", 1)) == (["a", "b"], [])


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("new.csv", "id,text\n1,a\n2,b\n3,c\n4\n5,e,f\n", r"new.csv = 'line 5, 6': not 2 fields"),
        ("new.csv", "id,text\n1,a\n2,b\n3,\n4,d\n", r"text of new.csv = 'text': empty or missing in row 3"),
        ("new.csv", "id,text\n", "a header and no rows"),
        (
            "new.jsonl",
            '{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n[]\n',
            r"new.jsonl = 'line 4': list, not an object",
        ),
        ("new.jsonl", '{"text": "a"}\n{"text": "b"}\n{"txt": "c"}\n', "empty or missing in row 3"),
        ("new.txt", "a\nb\n\n\nc\n", "no text in line 3, 4; fill"),
        ("new.txt", "\n \n", "no text in it"),
    ],
)
def test_a_mistake_in_a_later_part_is_told_before_the_first(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=message):
        next(texts_in(tmp_path / name, (), "utf-8", 2))


def test_a_text_file_in_another_encoding_is_told_with_the_place(tmp_path):
    (tmp_path / "new.txt").write_bytes(b"a\nb\ncaf\xe9\n")
    with pytest.raises(InvalidInput, match=r"encoding of new.txt = 'byte 0xe9 at offset 7, line 3'"):
        next(texts_in(tmp_path / "new.txt", (), "utf-8", 2))
    assert joined(texts_in(tmp_path / "new.txt", (), "latin-1", 2))[0] == ["a", "b", "café"]


def test_lines_end_where_the_system_says_and_not_within_a_text(tmp_path):
    (tmp_path / "new.txt").write_bytes("\ufeffa\r\nb\u2028c\x0bd\ne\n\n \n".encode())
    assert joined(texts_in(tmp_path / "new.txt", (), "utf-8", 10))[0] == ["a", "b\u2028c\x0bd", "e"]


def test_standard_input_is_read_as_it_comes(monkeypatch):
    def lines():
        yield from ("a\n", "b\n", "c\n")
        raise AssertionError("read further than was asked for")

    monkeypatch.setattr("sys.stdin", lines())
    assert next(texts_in(STDIN, (), "utf-8", 2)) == (["a", "b"], None)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\ncaf\xe9\n"), encoding="utf-8"))
    with pytest.raises(InvalidInput, match="input = '-': not utf-8"):
        list(texts_in(STDIN, (), "utf-8", 2))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".txt"])
def test_a_long_file_needs_the_memory_of_a_part(suffix, tmp_path):
    path, rows = tmp_path / f"long{suffix}", 20_000
    text = "a text of some length, as reviews have it, with more words in it than one would read"
    head = {".csv": "text\n", ".tsv": "text\n"}.get(suffix, "")
    line = {".csv": f'"{text}"', ".jsonl": json.dumps({"text": text})}.get(suffix, text)
    path.write_text(head + f"{line}\n" * rows)
    tracemalloc.start()
    try:
        count = sum(len(first) for first, _ in texts_in(path, (), "utf-8", 100))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == rows
    assert peak < path.stat().st_size / 2
