import dataclasses
from collections import Counter

import numpy as np
import pytest

from autopeft.errors import InvalidInput
from autopeft.messages import TaskSpec
from autopeft.tasks import TASK_SOURCES, load_task
from autopeft.tasks.base import LEAST_ROWS, RawTask, Rows, assemble

SPLITS = ("train", "holdout", "validation", "test")


def rows(targets, origin="rows.csv", prefix="text"):
    return Rows([f"{prefix} {i}" for i in range(len(targets))], None, list(targets), origin)


def classes(**counts):
    """Targets with so many rows a class, mixed."""
    return [name for i in range(max(counts.values())) for name, count in counts.items() if i < count]


def task(targets, kind="classification", metric=None, **fields):
    return assemble(RawTask(kind, rows(targets), **fields), TaskSpec(name="t", metric=metric))


def refused(targets, kind="classification", metric=None, **fields):
    with pytest.raises(InvalidInput) as caught:
        task(targets, kind, metric, **fields)
    return [str(problem) for problem in caught.value.problems]


def texts(data):
    return {name: set(getattr(data, name).first) for name in SPLITS}


# Splits


@pytest.mark.parametrize("given", [(), ("validation",), ("test",), ("validation", "test")])
def test_the_splits_are_disjoint_and_lose_no_row(given):
    other = {name: rows(["a", "b"] * 10, prefix=name) for name in given}
    data = task(["a", "b"] * 100, **other)
    found = texts(data)
    assert sum(map(len, found.values())) == len(set().union(*found.values())) == 200 + 20 * len(given)
    for name in given:
        assert list(getattr(data, name).first) == list(other[name].first)


def test_the_cuts_have_their_shares():
    data = task(["a", "b"] * 500)
    assert [len(getattr(data, name)) for name in SPLITS] == [578, 144, 128, 150]


def test_the_cuts_have_their_limits():
    data = task(["a", "b"] * 20_000)
    assert [len(getattr(data, name)) for name in SPLITS] == [35_000, 1000, 2000, 2000]


def test_the_same_rows_give_the_same_splits_every_time():
    one, two = (task(classes(a=40, b=60, c=9)) for _ in range(2))
    assert texts(one) == texts(two)
    for name in SPLITS:
        assert np.array_equal(getattr(one, name).targets, getattr(two, name).targets)


def test_the_splits_are_those_of_every_other_release():
    # Scores of different releases compare only while these stay.
    data = task(["a", "b"] * 10)
    assert [[int(text.split()[1]) for text in getattr(data, name).first] for name in SPLITS[1:]] == STABLE


STABLE = [[0, 5, 13], [2, 11, 19], [8, 15, 16]]


@pytest.mark.parametrize("metric", [None, "macro_f1"])
def test_splits_do_not_depend_on_the_metric(metric):
    assert texts(task(classes(a=40, b=60), metric=metric)) == texts(task(classes(a=40, b=60)))


@pytest.mark.parametrize("counts", [{"a": 500, "b": 500}, {"a": 900, "b": 90, "c": 10}, {"a": 33, "b": 67}])
def test_every_cut_has_the_classes_in_proportion(counts):
    data = task(classes(**counts))
    total = sum(counts.values())
    for name in SPLITS:
        split = getattr(data, name)
        found = Counter(data.labels[i] for i in split.targets)
        for label, count in counts.items():
            assert abs(found[label] - len(split) * count / total) <= 1.5, (name, label)


@pytest.mark.parametrize("rare", [2, 3, 4])
def test_a_rare_class_stays_in_train_and_the_others_stay_in_proportion(rare):
    data = task(classes(a=300, b=100, rare=rare))
    assert data.labels == ("a", "b", "rare")
    assert 2 in data.train.targets
    for name in SPLITS[1:]:
        counts = Counter(getattr(data, name).targets.tolist())
        assert counts[0] == pytest.approx(3 * counts[1], abs=3)


def test_train_keeps_every_class_where_a_cut_cannot_hold_them_all():
    data = task([f"class {i % 77:02}" for i in range(77 * 3)])
    assert len(data.labels) == len(set(data.train.targets.tolist())) == 77


@pytest.mark.parametrize("count", [LEAST_ROWS, LEAST_ROWS + 1, 20])
def test_the_smallest_tasks_have_something_in_every_split(count):
    data = task((["a", "b"] * count)[:count])
    assert all(len(getattr(data, name)) >= 2 for name in SPLITS)
    assert set(data.train.targets.tolist()) == {0, 1}


def test_a_regression_is_cut_at_random_over_its_whole_range():
    data = task([str(i / 10) for i in range(1000)], "regression")
    for name in SPLITS:
        split = getattr(data, name)
        assert split.targets.dtype == np.float32 and split.targets.mean() == pytest.approx(50, abs=6)


def test_pairs_stay_together():
    both = Rows([f"a {i}" for i in range(50)], [f"b {i}" for i in range(50)], ["x", "y"] * 25, "t")
    data = assemble(RawTask("classification", both), TaskSpec(name="t"))
    for name in SPLITS:
        split = getattr(data, name)
        assert [text[2:] for text in split.first] == [text[2:] for text in split.second]


def test_parts_are_the_scored_splits():
    data = task(["a", "b"] * 20)
    assert data.part("holdout") is data.holdout and data.part("validation") is data.validation
    assert data.part("test") is data.test


# Labels


def test_labels_are_in_natural_order_and_targets_are_their_indices():
    data = task(["10", "9", "b", "a"] * 10)
    assert data.labels == ("9", "10", "a", "b") and data.outputs == 4
    assert data.train.targets.dtype == np.int64
    split = data.holdout
    for text, target in zip(split.first, split.targets, strict=True):
        assert data.labels[target] == ["10", "9", "b", "a"][int(text.split()[1]) % 4]


def test_a_source_may_fix_the_order_of_labels():
    data = task(["good", "bad"] * 10, labels=("good", "bad", "never seen"))
    assert data.labels == ("good", "bad", "never seen") and data.outputs == 3


def test_a_regression_has_one_output_and_no_labels():
    data = task(["1", "2"] * 10, "regression")
    assert data.labels == () and data.outputs == 1


@pytest.mark.parametrize(
    "targets, other, said",
    [
        (["a"] * 20, {}, ["labels of rows.csv = 'a'", "the only class; at least two are needed"]),
        (
            ["a", "b"] * 10 + ["c", "d"],
            {},
            ["labels of rows.csv = ['c', 'd']", "give at least two rows of each class"],
        ),
        (
            ["a", "b"] * 10,
            {"validation": rows(["a", "c"] * 5, "dev.csv"), "test": rows(["b", "d"] * 5, "test.csv")},
            ["labels of dev.csv = ['c']", "validation split that no training row has", "labels of test.csv = ['d']"],
        ),
        (["a", "b"] * 3, {}, ["train rows of rows.csv = 6", f"at least {LEAST_ROWS} are needed"]),
        (
            ["a", "b"] * 10,
            {"validation": rows(["a"], "dev.csv"), "test": rows([], "test.csv")},
            ["validation rows of dev.csv = 1", "test rows of test.csv = 0"],
        ),
        (["a", "b", "c"] * 9, {"labels": ("a", "b")}, ["labels of rows.csv = ['c']", "known: a, b"]),
    ],
)
def test_labels_that_make_no_task_are_refused(targets, other, said):
    message = "\n".join(refused(targets, **other))
    assert [part for part in said if part not in message] == [], message


def test_a_class_that_only_train_has_is_no_mistake():
    data = task(classes(a=20, b=20, c=20), validation=rows(["a", "b"] * 5), test=rows(["a", "c"] * 5))
    assert data.labels == ("a", "b", "c")


@pytest.mark.parametrize(
    "targets, said",
    [
        (
            ["1", "2", "x"] * 5,
            ["score of rows.csv = ['x', 'x', 'x']", "not a finite number in rows [3, 6, 9, 12, 15]"],
        ),
        (["1", "nan", "inf", "-inf"] * 3, ["['nan', 'inf', '-inf']", "rows [2, 3, 4, 6, 7]"]),
        (["1", "1e39"] * 5, ["score of rows.csv", "not a finite number"]),
        (["true", "1"] * 5, ["score of rows.csv", "not a finite number"]),
        (["3.50", "3.5"] * 10, ["score of rows.csv = 3.5", "the same number in every row"]),
    ],
)
def test_scores_that_are_no_numbers_or_all_one_are_refused(targets, said):
    message = "\n".join(refused(targets, "regression"))
    assert [part for part in said if part not in message] == [], message


# Metrics


@pytest.mark.parametrize(
    "kind, source, asked, metric",
    [
        ("classification", None, None, "accuracy"),
        ("classification", "matthews", None, "matthews"),
        ("classification", "matthews", "macro_f1", "macro_f1"),
        ("regression", None, None, "pearson_spearman"),
        ("regression", None, "spearman", "spearman"),
    ],
)
def test_the_metric_asked_for_wins_then_the_sources_then_the_kinds(kind, source, asked, metric):
    data = assemble(RawTask(kind, rows(["1", "2"] * 10), metric=source), TaskSpec(name="t", metric=asked))
    assert data.metric == metric


@pytest.mark.parametrize(
    "kind, metric, known",
    [
        ("classification", "pearson", "accuracy, macro_f1, matthews"),
        ("classification", "acuracy", "did you mean accuracy"),
        ("regression", "accuracy", "pearson, pearson_spearman, spearman"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(kind, metric, known):
    (found,) = refused(["1", "2"] * 10, kind, metric)
    assert found.startswith(f"metric of a {kind} = {metric!r}: ") and known in found


# The fingerprint


BASE = RawTask("classification", rows(["a", "b"] * 20), rows(["a", "b"] * 5, prefix="v"), rows(["a", "b"] * 5))


def changed(split, **fields):
    return dataclasses.replace(BASE, **{split: dataclasses.replace(getattr(BASE, split), **fields)})


def fingerprint(raw, **fields):
    return assemble(raw, TaskSpec(**({"name": "t"} | fields))).fingerprint


@pytest.mark.parametrize(
    "raw",
    [
        changed("train", first=["other", *BASE.train.first[1:]]),
        changed("train", targets=["b", *BASE.train.targets[1:]]),
        changed("train", first=BASE.train.first[:-1], targets=BASE.train.targets[:-1]),
        changed("validation", first=["other", *BASE.validation.first[1:]]),
        changed("test", targets=["b", *BASE.test.targets[1:]]),
        dataclasses.replace(BASE, labels=("b", "a")),
        dataclasses.replace(BASE, validation=BASE.test, test=BASE.validation),
        dataclasses.replace(BASE, test=None),
    ],
)
def test_the_fingerprint_changes_with_any_row_label_or_split(raw):
    assert fingerprint(raw) != fingerprint(BASE)


@pytest.mark.parametrize(
    "raw, fields",
    [
        (BASE, {}),
        (BASE, {"name": "other"}),
        (BASE, {"max_length": 64}),
        (changed("train", origin="elsewhere.csv"), {}),
        (changed("train", first=tuple(BASE.train.first)), {}),
    ],
)
def test_the_fingerprint_does_not_change_with_where_rows_come_from(raw, fields):
    assert fingerprint(raw, **fields) == fingerprint(BASE)
    assert len(fingerprint(BASE)) == 16 and int(fingerprint(BASE), 16) >= 0


def test_a_second_text_is_not_mistaken_for_part_of_the_first():
    one = Rows(["a b"] * 20, ["c"] * 20, ["x", "y"] * 10, "t")
    two = Rows(["a"] * 20, ["b c"] * 20, ["x", "y"] * 10, "t")
    assert fingerprint(RawTask("classification", one)) != fingerprint(RawTask("classification", two))


# Which source


@pytest.mark.parametrize(
    "name, source",
    [
        ("docstrings", "docstrings"),
        ("glue/sst2", "glue"),
        ("glue/other", "glue"),
        ("hf:org/name", "hf"),
        ("hf:./folder", "hf"),
        ("./glue/sst2", "file"),
        ("docstrings.csv", "file"),
    ],
)
def test_every_name_has_one_source(name, source):
    sources = TASK_SOURCES.all()
    taken = sorted((s.fallback, key) for key, s in sources.items() if s.accepts(name))
    assert taken[0][1] == source
    assert sum(not fallback for fallback, _ in taken) == (source != "file")


def test_every_source_accepts_its_own_example_and_says_what_it_is():
    for source in TASK_SOURCES.all().values():
        assert source.accepts(source.example) and source.summary


def test_a_name_of_no_source_is_refused_with_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidInput, match=r"task = 'docstring': .*did you mean docstrings\?.*glue/sst2.*reviews\.csv"
    ):
        load_task(TaskSpec(name="docstring"))
