"""docs/tasks.md says what the code does with a file."""

import re

import pytest

from autopeft.messages import TaskSpec
from autopeft.tasks.base import LEAST_ROWS, RawTask, Rows, assemble
from autopeft.tasks.formats import MOST_BYTES, MOST_ROWS, read_table
from autopeft.tasks.tabular import LABELS, PAIRS, SCORES, TEXTS, raw_task
from tests.deploy.files import ROOT

TEXT = ROOT.joinpath("docs", "tasks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(csv|json)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def names(row):
    (cells,) = re.findall(rf"^\| {row} \| (.*) \|$", TEXT, re.MULTILINE)
    return tuple(re.findall(r"`(\w+)`", cells))


def test_the_columns_that_are_found_are_those_named():
    assert names("two texts") == tuple(name for pair in PAIRS for name in pair)
    assert (names("one text"), names("class"), names("number")) == (TEXTS, LABELS, SCORES)


@pytest.mark.parametrize(("language", "block"), BLOCKS, ids=[language for language, _ in BLOCKS])
def test_the_examples_are_read(tmp_path, language, block):
    path = tmp_path / {"csv": "a.csv", "json": "a.jsonl"}[language]
    path.write_text(block)
    task = raw_task({"train": read_table(path, "utf-8")}, TaskSpec(name=str(path)))
    assert task.kind == {"csv": "classification", "json": "regression"}[language]
    assert len(task.train.first) == 2 and (task.train.second is None) == (language == "csv")


def test_the_splits_of_a_thousand_rows_are_those_named():
    texts = [f"text {i}" for i in range(1000)]
    data = assemble(RawTask("classification", Rows(texts, None, ["a", "b"] * 500, "a.csv")), TaskSpec(name="a.csv"))
    sizes = [len(split) for split in (data.test, data.validation, data.holdout, data.train)]
    assert f"{', '.join(map(str, sizes[:3]))} and {sizes[3]}" in TEXT


def test_the_limits_are_those_named():
    assert f"At least {LEAST_ROWS} rows" in TEXT
    assert f"{MOST_BYTES // 2**30} GiB and {MOST_ROWS:,} rows" in TEXT
