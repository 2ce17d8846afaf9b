import json
import os
from decimal import Decimal

import pandas
import pytest

from autopeft.errors import InvalidInput
from autopeft.messages import TaskSpec
from autopeft.tasks import TASK_SOURCES, formats, load_task
from autopeft.tasks.formats import read_table
from autopeft.tasks.tabular import Table, raw_task

FILE = TASK_SOURCES.get("file")
ROWS = [(f"text number {i}", "good" if i % 2 else "bad") for i in range(20)]
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
PAIRS = ("text_a,text_b", "sentence1,sentence2", "question1,question2", "premise,hypothesis", "question,sentence")


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path, **fields):
    return FILE.read(TaskSpec(name=str(path), **fields))


def problems(path, **fields):
    with pytest.raises(InvalidInput) as caught:
        read(path, **fields)
    return [str(problem) for problem in caught.value.problems]


# What is read


def test_csv_tsv_jsonl_and_parquet_of_the_same_rows_are_the_same_task(tmp_path):
    frame = pandas.DataFrame(ROWS, columns=["text", "label"])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_csv(tmp_path / "rows.TSV", index=False, sep="\t")
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "rows.parquet")
    names = ("rows.csv", "rows.TSV", "rows.jsonl", "rows.parquet")
    tasks = [load_task(TaskSpec(name=str(tmp_path / name))) for name in names]
    assert len({task.fingerprint for task in tasks}) == 1
    assert tasks[0].labels == ("bad", "good")


def test_a_folder_gives_the_splits_that_it_has(tmp_path):
    for name in ("train.csv", "dev.jsonl", "README.md", "notes.csv"):
        write(tmp_path, name, CSV if name.endswith("csv") else jsonl({"text": "one", "label": "good"}))
    raw = read(tmp_path)
    assert len(raw.train.first) == 20 and raw.train.origin == "train.csv"
    assert raw.validation is not None and raw.validation.first == ["one"] and raw.test is None


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "Dev"])
def test_the_validation_file_may_have_any_of_its_customary_names(tmp_path, name):
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, f"{name}.csv", CSV)
    assert read(tmp_path).validation is not None


@pytest.mark.parametrize("name", ["text", "sentence", "review", "question", "content", "document", "Text", " text "])
def test_one_text_column_is_found_by_its_name(tmp_path, name):
    raw = read(write(tmp_path, "a.csv", f"id,{name},label\n1,hello,x\n"))
    assert raw.train.first == ["hello"] and raw.train.second is None


@pytest.mark.parametrize("names", PAIRS)
def test_a_pair_of_text_columns_is_found_by_its_names(tmp_path, names):
    raw = read(write(tmp_path, "a.csv", f"text,{names},label\nno,one,two,x\n"))
    assert (raw.train.first, raw.train.second) == (["one"], ["two"])


@pytest.mark.parametrize("name", ["label", "labels", "class", "category", "intent", "target", "LABEL"])
def test_a_label_column_is_found_before_a_score_column(tmp_path, name):
    raw = read(write(tmp_path, "a.csv", f"score,text,{name}\n0.5,hello,x\n"))
    assert (raw.kind, raw.train.targets) == ("classification", ["x"])


@pytest.mark.parametrize("name", ["score", "similarity", "rating"])
def test_a_score_column_makes_a_regression(tmp_path, name):
    raw = read(write(tmp_path, "a.csv", f"text,{name}\nhello,0.5\n"))
    assert (raw.kind, raw.train.targets) == ("regression", ["0.5"])


def test_named_columns_win_over_common_names(tmp_path):
    path = write(tmp_path, "a.csv", "text,label,title,stars\nbody,x,head,4\n")
    raw = read(path, text=("title", "text"), score="stars")
    assert (raw.kind, raw.train.first, raw.train.second) == ("regression", ["head"], ["body"])
    assert raw.train.targets == ["4"]


@pytest.mark.parametrize(
    "value, name",
    [
        ("1", "1"),
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        (1.5, "1.5"),
        (True, "true"),
        (" pos ", "pos"),
        (Decimal("2.00"), "2"),
        ("v1.0", "v1.0"),
        (-1, "-1"),
        ("NA", "NA"),
        (float("inf"), "inf"),
    ],
)
def test_a_label_is_text_whatever_its_type(value, name):
    columns = {"text": ["hello"], "label": [value]}
    raw = raw_task({"train": Table("t", tuple(columns), columns.__getitem__)}, TaskSpec(name="t"))
    assert raw.train.targets == [name]


def test_numbers_and_booleans_are_taken_as_text(tmp_path):
    rows = [{"text": text, "label": "x"} for text in (1, 2.5, 3.0, True)]
    assert read(write(tmp_path, "a.jsonl", jsonl(*rows))).train.first == ["1", "2.5", "3", "true"]


def test_integers_with_missing_values_in_another_column_survive_parquet(tmp_path):
    frame = pandas.DataFrame({"text": ["a", "b"], "label": [1, 2], "other": [1, None]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").train.targets == ["1", "2"]


def test_words_that_pandas_takes_for_missing_are_text(tmp_path):
    raw = read(write(tmp_path, "a.csv", "text,label\nNA,null\nnan,None\n"))
    assert raw.train.first == ["NA", "nan"] and raw.train.targets == ["null", "None"]


def test_csv_quotes_commas_and_line_breaks(tmp_path):
    raw = read(write(tmp_path, "a.csv", 'text,label\r\n"one, ""two""\nthree",x\r\n\r\nfour,y\r\n'))
    assert raw.train.first == ['one, "two"\nthree', "four"]


@pytest.mark.parametrize(
    "body, first",
    [
        ('"one\ttwo"\tx\n"three\nfour"\ty\n', ["one\ttwo", "three\nfour"]),  # as pandas writes it
        ('"one\tx\ntwo"\ty\n', ['"one', 'two"']),  # as GLUE has it: the quotes belong to the texts
        ('"one\tx\nsaid "two" so\ty\n', ['"one', 'said "two" so']),
    ],
)
def test_tsv_takes_quotes_as_such_only_where_the_table_stays_whole(tmp_path, body, first):
    assert read(write(tmp_path, "a.tsv", "text\tlabel\n" + body)).train.first == first


def test_a_tsv_whose_quotes_hold_is_read_once(tmp_path, monkeypatch):
    passes, opened = [], formats.opened
    monkeypatch.setattr(formats, "opened", lambda *file: passes.append(file) or opened(*file))
    write(tmp_path, "a.tsv", 'text\tlabel\n"one\nand"\tx\ntwo\ty\n')
    assert list(read_table(tmp_path / "a.tsv", "utf-8").read("text")) == ["one\nand", "two"]
    assert len(passes) == 1


@pytest.mark.parametrize(
    "encoding, content",
    [
        ("utf-8", "text,label\nnaïve,x\n".encode("utf-8-sig")),  # with Excel's byte-order mark
        ("cp1252", "text,label\nnaïve,x\n".encode("cp1252")),
        ("utf-16", "text,label\nnaïve,x\n".encode("utf-16")),
    ],
)
def test_the_encoding_is_honoured(tmp_path, encoding, content):
    assert read(write(tmp_path, "a.csv", content), encoding=encoding).train.first == ["naïve"]


def test_a_parquet_file_is_read_by_the_columns_that_are_needed(tmp_path):
    pandas.DataFrame({"text": ["a"], "label": ["x"], "vector": [[1.0, 2.0]]}).to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet", "utf-8")
    assert table.names == ("text", "label", "vector") and table.read("text") == ["a"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.TSV", "./rows", "~/rows", "/rows", "a/b", ".", "rows.parquet"])
def test_names_that_look_like_paths_are_accepted(name):
    assert FILE.accepts(name)


def test_a_name_without_any_look_of_a_path_is_accepted_only_if_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not FILE.accepts("reviews")
    write(tmp_path, "reviews/train.csv", CSV)
    assert FILE.accepts("reviews")
    assert load_task(TaskSpec(name="reviews")).labels == ("bad", "good")


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "rows.csv", CSV)
    assert len(read("~/rows.csv").train.first) == 20


# What is refused: name of the file, content, fields of the spec, and what the message must say

T = "text,label\n"
BAD = {
    "unknown suffix": ("a.xlsx", "x", {}, ["suffix of a.xlsx = '.xlsx'", "known: .csv, .jsonl, .parquet, .tsv"]),
    "no suffix": ("rows", "x", {}, ["suffix of rows", "known: .csv"]),
    "pickle": ("a.pkl", b"\x80\x04.", {}, ["suffix of a.pkl = '.pkl'", "known: .csv"]),
    "empty csv": ("a.csv", "", {}, ["a.csv", "empty"]),
    "blank csv": ("a.csv", "\n\n", {}, ["a.csv", "empty"]),
    "empty jsonl": ("a.jsonl", "\n\n", {}, ["a.jsonl", "empty"]),
    "empty parquet": ("a.parquet", "", {}, ["a.parquet", "empty"]),
    "header only": ("a.csv", T, {}, ["a.csv = ['text', 'label']", "a header and no rows"]),
    "header only tsv": ("a.tsv", "text\tlabel\n", {}, ["a.tsv", "a header and no rows"]),
    "column twice": ("a.csv", "text,label,text\na,b,c\n", {}, ["columns of a.csv = ['text']", "rename"]),
    "semicolons": ("a.csv", "text;label\na;b\n", {}, ["columns of a.csv = 'text;label'", "separated by commas"]),
    "tabs in csv": ("a.csv", "text\tlabel\na\tb\n", {}, ["columns of a.csv", "change the suffix"]),
    "commas in tsv": ("a.tsv", CSV, {}, ["columns of a.tsv = 'text,label'", "change the suffix"]),
    "wrong text": (
        "a.csv",
        CSV,
        {"text": ("txt",)},
        ["text = 'txt'", "did you mean 'text'?", "columns: 'text', 'label'"],
    ),
    "wrong label": ("a.csv", CSV, {"label": "lable"}, ["label = 'lable'", "did you mean 'label'?"]),
    "wrong score": ("a.csv", CSV, {"score": "stars"}, ["score = 'stars'", "columns: 'text', 'label'"]),
    "no text": ("a.csv", "body,label\na,b\n", {}, ["text: no column of a.csv", "name one of: 'body', 'label'"]),
    "no target": ("a.csv", "text,y\na,b\n", {}, ["label or score: no column", "name one of: 'text', 'y'"]),
    "label and score": (
        "a.csv",
        "text,label,score\na,b,1\n",
        {"label": "label", "score": "score"},
        ["label and score = ['label', 'score']", "give one of them"],
    ),
    "three texts": ("a.csv", "a,b,c,label\n1,2,3,x\n", {"text": ("a", "b", "c")}, ["text = ['a', 'b', 'c']", "two"]),
    "text twice": ("a.csv", CSV, {"text": ("text", "text")}, ["text = 'text'", "twice"]),
    "text as label": ("a.csv", CSV, {"text": ("text",), "label": "text"}, ["label = 'text'", "twice"]),
    "not utf-8": (
        "a.csv",
        (T + "good,x\n").encode() + "naïve,y\n".encode("cp1252"),
        {},
        ["encoding of a.csv = 'byte 0xef at offset 20, line 3'", "not utf-8", "cp1252"],
    ),
    "not utf-8 jsonl": ("a.jsonl", b'{"text": "na\xefve"}\n', {}, ["offset 12, line 1", "save the file as UTF-8"]),
    "not utf-8 tsv": ("a.tsv", b"text\tlabel\n\xff\tx\n", {}, ["byte 0xff at offset 11, line 2", "give the encoding"]),
    "not utf-16": ("a.csv", CSV, {"encoding": "utf-16"}, ["encoding of a.csv = 'utf-16'", "give the encoding"]),
    "no encoding": ("a.csv", CSV, {"encoding": "utf8000"}, ["encoding = 'utf8000'", "did you mean", "utf-8"]),
    "no text encoding": ("a.csv", CSV, {"encoding": "rot13"}, ["encoding = 'rot13'", "known: ascii"]),
    "nul in encoding": ("a.csv", CSV, {"encoding": "a\0b"}, ["encoding = 'a\\x00b'", "known: ascii"]),
    "open quote": ("a.csv", T + 'one,x\n"two,y\nthree,z\n', {}, ["a.csv = 'line 3'", "quote not closed"]),
    "quote inside": ("a.csv", T + '"one" two,x\n', {}, ["a.csv = 'line 2'", "quote"]),
    "huge field": ("a.csv", T + "x" * 140_000 + ",y\n", {}, ["a.csv = 'line 2'", "field larger than"]),
    "long and short rows": (
        "a.csv",
        T + "a,x\nb,y,z\nc,x\nd\n",
        {},
        ["a.csv = 'line 3, 5'", "not 2 fields as in the header", "put quotes around"],
    ),
    "many ragged rows": ("a.csv", T + "a,b,c\n" * 9, {}, ["'line 2, 3, 4, 5, 6 and 4 more'", "not 2 fields"]),
    "ragged tsv": ("a.tsv", "text\tlabel\na\tx\nb\n", {}, ["a.tsv = 'line 3'", "not 2 fields"]),
    "broken json": (
        "a.jsonl",
        '{"text": "a", "label": "x"}\n\n{"text": "b", \n',
        {},
        ["a.jsonl = 'line 3'", "not JSON", "every line is one JSON object"],
    ),
    "json array": ("a.jsonl", '[{"text": "a"}]\n', {}, ["a.jsonl = 'line 1'", "list, not an object"]),
    "deep json": ("a.jsonl", "[" * 100_000 + "\n", {}, ["a.jsonl = 'line 1'", "not JSON", "every line"]),
    "broken parquet": ("a.parquet", b"PAR1 is not enough", {}, ["a.parquet", "not a sound Parquet", "write it again"]),
    "empty text": (
        "a.csv",
        T + "a,x\n,y\n  ,z\n" + ",y\n" * 5,
        {},
        ["text of a.csv = 'text'", "rows 2, 3, 4, 5, 6 and 2 more (the first row of data is 1)", "remove those rows"],
    ),
    "missing label": ("a.csv", T + "a,\nb,y\n", {}, ["label of a.csv = 'label'", "row 1 (", "fill them in"]),
    "missing score": ("a.csv", "text,score\na,\nb,1\n", {}, ["score of a.csv = 'score'", "row 1 (", "fill them in"]),
    "key not there": (
        "a.jsonl",
        jsonl({"text": "a", "label": "x"}, {"text": "b"}, {"text": None, "label": float("nan")}),
        {},
        ["text of a.jsonl", "row 3", "label of a.jsonl", "rows 2, 3"],
    ),
    "list as text": (
        "a.jsonl",
        jsonl({"text": ["a", "b"], "label": "x"}, {"text": {"a": 1}, "label": "y"}),
        {},
        ["text of a.jsonl = 'text'", "neither text nor a number in rows 1, 2", "plain values"],
    ),
    "list as label": ("a.jsonl", jsonl({"text": "a", "label": ["x"]}), {}, ["label of a.jsonl", "plain values"]),
    "nul in text": ("a.csv", T + "a\0b,x\n", {}, ["text of a.csv", "NUL byte", "row 1", "damaged"]),
    "nul beside other letters": ("a.csv", T + "é\0b,x\n", {}, ["text of a.csv", "NUL byte", "row 1"]),
    "binary as csv": ("a.csv", bytes(range(128)) * 9, {}, ["a.csv"]),
    "half a surrogate": ("a.jsonl", '{"text": "\\ud800", "label": "x"}\n', {}, ["text of a.jsonl", "surrogate"]),
}


@pytest.mark.parametrize("name, content, fields, said", BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_with_the_field_and_the_remedy(tmp_path, name, content, fields, said):
    message = "\n".join(problems(write(tmp_path, name, content), **fields))
    assert [part for part in said if part not in message] == [], message


def test_bytes_in_a_parquet_column_are_no_text(tmp_path):
    pandas.DataFrame({"text": [b"a"], "label": ["x"]}).to_parquet(tmp_path / "a.parquet")
    assert problems(tmp_path / "a.parquet") == [
        "text of a.parquet = 'text': neither text nor a number in row 1 (the first row of data is 1); "
        "give a column of plain values"
    ]


def test_all_wrong_columns_are_named_at_once(tmp_path):
    path = write(tmp_path, "a.csv", CSV)
    found = problems(path, text=("a", "b", "c"), label="d", score="e")
    assert [line.partition(" =")[0] for line in found] == ["text", "label and score"] + ["text"] * 3 + [
        "label",
        "score",
    ]


def test_broken_lines_are_named_together_but_not_without_end(tmp_path):
    found = problems(write(tmp_path, "a.jsonl", "{\n" * 100))
    assert [line.partition(":")[0] for line in found] == [f"a.jsonl = 'line {i}'" for i in range(1, 6)]


def test_the_problems_of_all_splits_come_together(tmp_path):
    write(tmp_path, "train.csv", "")
    write(tmp_path, "dev.jsonl", "[]")
    assert [line.partition(":")[0] for line in problems(tmp_path)] == ["train.csv", "dev.jsonl = 'line 1'"]


def test_splits_with_other_columns_are_refused(tmp_path):
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "test.csv", "txt,label\na,good\n")
    write(tmp_path, "dev.csv", "text\na\n")
    found = problems(tmp_path)
    assert len(found) == 2
    assert "label = 'label': no such column in dev.csv; columns: 'text'" in found
    assert "text = 'text': no such column in test.csv; did you mean 'txt'? columns: 'txt', 'label'" in found


def test_a_missing_file_says_where_it_looked_and_what_is_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "reviews.csv", CSV)
    looked = f"no such file or folder; looked at {tmp_path}/revews.csv; near it: reviews.csv"
    assert problems("revews.csv") == [f"task = 'revews.csv': {looked}"]
    assert problems("no/a.csv") == [f"task = 'no/a.csv': no such file or folder; there is no folder {tmp_path}/no"]


@pytest.mark.parametrize("name", ["a\0b/c.csv", "~nobody-of-that-name/a.csv"])
def test_impossible_paths_are_missing_files(name):
    assert "no such file or folder" in problems(name)[0]


def test_a_folder_without_train_lists_what_is_there(tmp_path):
    write(tmp_path, "dev.csv", CSV)
    write(tmp_path, "train.txt", "x")
    (found,) = problems(tmp_path)
    assert "no train file: name it train" in found and "dev.csv, train.txt" in found
    (tmp_path / "none").mkdir()
    assert "there is: nothing" in problems(tmp_path / "none")[0]


def test_two_files_of_one_split_are_refused(tmp_path):
    for name in ("train.csv", "train.jsonl", "dev.csv", "validation.csv"):
        write(tmp_path, name, CSV)
    assert problems(tmp_path) == [
        f"train of {tmp_path} = ['train.csv', 'train.jsonl']: more than one file; leave one",
        f"validation of {tmp_path} = ['dev.csv', 'validation.csv']: more than one file; leave one",
    ]


def test_what_is_neither_file_nor_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "neither a file nor a folder" in problems(tmp_path / "pipe.csv")[0]


def test_a_folder_named_as_a_split_is_told_apart_from_a_file(tmp_path):
    (tmp_path / "train.csv").mkdir()
    assert "cannot be read: Is a directory" in problems(tmp_path)[0]


def test_files_above_the_byte_limit_are_refused_unread(tmp_path):
    path = write(tmp_path, "a.csv", "")
    os.truncate(path, formats.MOST_BYTES + 1)  # sparse: takes no disk
    (found,) = problems(path)
    assert found == f"a.csv = '{formats.MOST_BYTES + 1} bytes': at most {formats.MOST_BYTES} bytes; give a part of it"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_files_above_the_row_limit_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(formats, "MOST_ROWS", 19)
    frame = pandas.DataFrame(ROWS, columns=["text", "label"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    assert problems(tmp_path / name) == [f"{name} = 'more than 19 rows': too many; give a part of them"]
