"""YAML files that people write, and that people break."""

import os

import pytest
from pydantic import BaseModel

from autopeft.documents import MOST_BYTES, parse, read_yaml
from autopeft.errors import InvalidInput


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "job.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def problem(path, **options):
    with pytest.raises(InvalidInput) as caught:
        read_yaml(path, **options)
    (found,) = caught.value.problems
    assert found.field == "file" and found.value == str(path) and "\n" not in found.remedy
    return found.remedy


@pytest.mark.parametrize(
    ("content", "document"),
    [
        ("a: 1\nb: [x, 2.5, true, null]\n", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("\ufeffa: naïve 🦙\n", {"a": "naïve 🦙"}),
        ("1: one\n", {"1": "one"}),
        ("{}", {}),
        ("a: {b: 1}\nc: {b: 2}", {"a": {"b": 1}, "c": {"b": 2}}),
        ("rates: [1e-4, -1E+3, 1.5e-2, 12e3, 1e, e5, 0x1e4]", {"rates": [1e-4, -1e3, 0.015, 12e3, "1e", "e5", 0x1E4]}),
        ("a: '1e-4'", {"a": "1e-4"}),
    ],
)
def test_a_mapping_is_read_as_people_mean_it(file, content, document):
    assert read_yaml(file(content)) == document


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("", "must hold a mapping of keys to values"),
        ("- a\n- b", "must hold a mapping of keys to values"),
        ("just text", "must hold a mapping of keys to values"),
        ("a: 1\nb: 2\na: 3", "not valid YAML: the key 'a' is there twice, line 3, column 1"),
        ("x:\n  a: 1\n  a: 3", "not valid YAML: the key 'a' is there twice, line 3, column 3"),
        ("1: a\n'1': b", "not valid YAML: the key '1' is there twice, line 2, column 1"),
        ("a: &x [1]\nb: *x", "not valid YAML: aliases are not allowed, line 2, column 4"),
        ("[a]: 1", "not valid YAML: a key must be text, line 1, column 1"),
        ("a: {{b: 1}: 2}", "not valid YAML: a key must be text, line 1, column 5"),
        ("a: b: c", "not valid YAML: mapping values are not allowed here, line 1, column 5"),
        ("a: [1", "not valid YAML: expected ',' or ']', but got '<stream end>', line 1, column 6"),
        ("a: 'x", "not valid YAML: found unexpected end of stream, line 1, column 6"),
        ("a: 1\n---\nb: 2", "not valid YAML: but found another document, line 2, column 1"),
        ("a: 2024-13-01", "not valid YAML: month must be in 1..12"),
        ("a: !!int x", "not valid YAML: invalid literal for int() with base 10: 'x'"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: !!python/object/apply:os.system [echo]", "not valid YAML: could not determine a constructor for the tag"),
        ("a: \0", "not valid YAML: unacceptable character #x0000"),
        (b"a: caf\xe9", "not UTF-8 at byte 6"),
        ("a: 1".encode("utf-16"), "not UTF-8 at byte 0"),
        ("a: " + "[" * 20_000, "nested too deeply"),
        ("a: " + "{b: " * 10_000, "nested too deeply"),
        ("- " * 30_000, "nested too deeply"),
        ("a: " + "x" * MOST_BYTES, f"larger than {MOST_BYTES} bytes"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_anything_else_is_bad_input_in_one_line(file, content, remedy):
    assert problem(file(content)).startswith(remedy)


def test_a_size_limit_may_be_another(file):
    assert problem(file("a: 1234567"), most_bytes=5) == "larger than 5 bytes"


def test_what_is_no_file_is_bad_input(tmp_path):
    assert problem(tmp_path / "missing.yaml") == "no such file"
    assert problem(tmp_path) == "no such file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_bad_input(file):
    path = file("a: 1")
    path.chmod(0)
    assert problem(path) == "cannot be read: Permission denied"


def test_a_file_that_breaks_off_while_it_is_read_is_bad_input(file, monkeypatch):
    path = file("a: 1")

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(path), "read_text", fail)
    assert problem(path) == "cannot be read: Input/output error"


class Inner(BaseModel, extra="forbid"):
    size: int
    kind: str = "x"


class Outer(BaseModel, extra="forbid"):
    inner: Inner
    several: list[Inner] = []
    named: dict[str, Inner] = {}
    either: Inner | list[int] | None = None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"inner": {"size": 1, "knd": 2}}, ["it: inner.knd: unknown key; did you mean kind? known: kind, size"]),
        ({"inner": {"size": "x"}}, ["it: inner.size = 'x': must be a whole number"]),
        ({"inner": {}, "several": [{"size": 1}, {"sise": 1}]}, [
            "it: inner.size: missing",
            "it: several.1.size: missing",
            "it: several.1.sise: unknown key; did you mean size? known: kind, size",
        ]),
        ({"inner": {"size": 1}, "named": {"a": {"size": None}}}, ["it: named.a.size: must be a whole number"]),
        ({"inner": {"size": 1}, "either": {"size": 1, "x": 2}}, ["it: either.x: unknown key; known: kind, size"]),
        ({"inner": {"size": 1}, "either": [1, "b"]}, ["it: either.1 = 'b': must be a whole number"]),
        ({"inner": {"size": 1}, "either": 5}, ["it: either = 5: must be a mapping or a list"]),
        ({"inner": 3, "more": 1}, [
            "it: inner = 3: must be a mapping",
            "it: more: unknown key; known: either, inner, named, several",
        ]),
    ],
)  # fmt: skip
def test_parse_tells_every_problem_at_its_path(document, said):
    with pytest.raises(InvalidInput) as caught:
        parse(Outer, document, "it")
    assert [str(p) for p in caught.value.problems] == said
