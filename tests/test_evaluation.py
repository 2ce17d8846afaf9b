"""Tables of evaluations, and which runs compare."""

import gzip
import json

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.errors import InvalidInput
from autopeft.evaluation import Conditions, Evaluation, line, read_evaluations, write_evaluations
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings, TrialReport

FIDELITY = Fidelity(rows=1000, epochs=3, evaluations=1, rungs=(1 / 9, 1 / 3), held_out_rows=500)


def conditions(**changes):
    given = {
        "model": "minilm",
        "model_hash": "a" * 16,
        "task": TaskSpec(name="docstrings"),
        "task_hash": "b" * 16,
        "metric": "accuracy",
        "fidelity": FIDELITY,
    }
    return Conditions(**{**given, **changes})


def evaluation(seed=0, **changes):
    architecture = Architecture((Placement("lora", "attention.query", 0, 4 + seed),), (("learning_rate", 0.1),))
    report = TrialReport(
        key="k",
        state="complete",
        scores={"holdout": 0.1 + 0.2},
        metrics={"holdout": {"accuracy": 0.1 + 0.2}},
        steps=90,
        best_step=90,
        curve=((10, 1 / 3), (30, 2 / 3), (90, 0.1 + 0.2)),
        device="cpu (é, float32)",
        **changes,
    )
    return Evaluation(
        conditions=conditions(), architecture=architecture.to_dict(), seed=seed, report=report, versions={"torch": "2"}
    )


PRUNED = TrialReport(
    key="p", state="pruned", reason="pruned", detail="below", params=3, steps=90, curve=((10, 0.25),), center=1.5
)
EVALUATIONS = [evaluation(), evaluation(1), evaluation(2).model_copy(update={"report": PRUNED}), evaluation(3)]
names = pytest.mark.parametrize("name", ["table.jsonl", "table.jsonl.gz"])


def text_of(path):
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()


def put(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


# -- tables


@names
def test_what_was_written_is_read_to_the_last_digit(tmp_path, name):
    path = tmp_path / name
    write_evaluations(path, iter(EVALUATIONS))
    assert list(read_evaluations(path)) == EVALUATIONS
    assert path.read_bytes().startswith(b"\x1f\x8b") == (path.suffix == ".gz")
    assert next(read_evaluations(path)).decoded == EVALUATIONS[0].decoded


@names
def test_a_table_is_a_line_of_json_for_each_and_takes_the_place_of_another(tmp_path, name):
    path = tmp_path / name
    write_evaluations(path, EVALUATIONS)
    assert text_of(path) == "".join(map(line, EVALUATIONS))
    assert [json.loads(one)["seed"] for one in text_of(path).splitlines()] == [0, 1, 2, 3]
    write_evaluations(path, EVALUATIONS[:1])
    assert list(read_evaluations(path)) == EVALUATIONS[:1]
    write_evaluations(path, [])
    assert list(read_evaluations(path)) == []


def test_what_is_as_by_default_is_left_out_of_a_line():
    told = json.loads(line(EVALUATIONS[0]))
    assert "training" not in told["conditions"] and "max_length" not in told["conditions"]["task"]
    assert told["conditions"]["task"] == {"name": "docstrings"} and "probabilities" not in told["report"]
    assert line(EVALUATIONS[0]).count("\n") == 1


def test_weights_are_never_in_a_line():
    assert line(evaluation(weights=b"\x00" * 1000)) == line(evaluation())


@names
@pytest.mark.parametrize("left", [1, 40, -1])
def test_a_last_line_that_was_cut_is_left_out(tmp_path, name, left):
    whole, last = "".join(map(line, EVALUATIONS[:-1])), line(EVALUATIONS[-1])
    path = put(tmp_path / name, whole + last[:left])
    assert list(read_evaluations(path)) == EVALUATIONS[:-1]


@names
@pytest.mark.parametrize("broken", ["", "{", "[]", "null", '{"seed": 1}', line(EVALUATIONS[0])[:50], "no json"])
def test_a_broken_line_before_the_last_is_refused_by_its_number(tmp_path, name, broken):
    path = put(tmp_path / name, line(EVALUATIONS[0]) + line(EVALUATIONS[1]) + broken + "\n" + line(EVALUATIONS[3]))
    rows = read_evaluations(path)
    assert [next(rows), next(rows)] == EVALUATIONS[:2]
    with pytest.raises(InvalidInput, match="line 3 is no evaluation"):
        next(rows)


def test_a_field_that_nobody_knows_is_refused(tmp_path):
    strange = line(EVALUATIONS[0]).replace('{"conditions"', '{"more": 1, "conditions"', 1)
    with pytest.raises(InvalidInput, match="line 1 is no evaluation"):
        list(read_evaluations(put(tmp_path / "table.jsonl", strange)))


@names
def test_a_file_that_is_not_there_is_refused_and_told_how_it_is_made(tmp_path, name):
    with pytest.raises(InvalidInput, match="no such file.*evaluations --out"):
        next(read_evaluations(tmp_path / name))
    with pytest.raises(InvalidInput, match="no such file"):
        next(read_evaluations(tmp_path))


def test_a_compressed_table_that_a_crash_cut_short_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "table.jsonl.gz"
    path.write_bytes(gzip.compress("".join(map(line, EVALUATIONS)).encode(), compresslevel=0)[:-30])
    assert list(read_evaluations(path)) == EVALUATIONS[:-1]


def test_a_compressed_file_that_was_damaged_is_refused(tmp_path):
    path = tmp_path / "table.jsonl.gz"
    write_evaluations(path, EVALUATIONS)
    held = bytearray(path.read_bytes())
    held[10:40] = b"\xff" * 30  # after the header
    path.write_bytes(held)
    with pytest.raises(InvalidInput, match=r"^table = .*no table: Error -3"):
        list(read_evaluations(path))


@pytest.mark.parametrize(("name", "held"), [("a.jsonl.gz", b"{}\n"), ("a.jsonl", b"\xff\xfe\n")])
def test_a_file_that_is_no_such_table_at_all_is_refused(tmp_path, name, held):
    (tmp_path / name).write_bytes(held)
    with pytest.raises(InvalidInput):
        list(read_evaluations(tmp_path / name))


# -- which runs compare


def test_a_key_is_sixteen_hexadecimal_digits_and_stays_the_same():
    assert len(conditions().key) == 16 and int(conditions().key, 16) >= 0
    assert conditions().key == conditions().key
    again = Conditions.model_validate_json(conditions().model_dump_json(exclude_defaults=True))
    assert again.key == conditions().key


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "/another/name"},
        {"task": TaskSpec(name="/another/name.csv")},
        {"task": TaskSpec(name="docstrings", text=("a", "b"), label="c", encoding="latin-1")},
        {"task": TaskSpec(name="docstrings", metric="accuracy")},
        {"fidelity": Fidelity(rows=1000, held_out_rows=500, rungs=(1 / 9, 1 / 3), epochs=3.0, evaluations=1)},
        {"training": TrainingSettings(batch_size=32)},
    ],
)
def test_names_and_what_the_hashes_stand_for_are_not_in_the_key(changes):
    assert conditions(**changes).key == conditions().key


@pytest.mark.parametrize(
    "changes",
    [
        {"model_hash": "c" * 16},
        {"task_hash": "c" * 16},
        {"model_hash": "b" * 16, "task_hash": "a" * 16},
        {"metric": "macro_f1"},
        {"task": TaskSpec(name="docstrings", max_length=64)},
        *({"fidelity": FIDELITY.model_copy(update=one)} for one in (
            {"rows": 999},
            {"rows": None},
            {"epochs": 2.0},
            {"evaluations": 2},
            {"rungs": ()},
            {"rungs": (1 / 3,)},
            {"held_out_rows": None},
        )),
        *({"training": TrainingSettings(**one)} for one in (
            {"learning_rate": 0.1},
            {"head_learning_rate": 0.1},
            {"batch_size": 16},
            {"weight_decay": 0.1},
            {"warmup": 0.2},
            {"gradient_clip": 2.0},
        )),
        {"precision": "float32"},
    ],
)  # fmt: skip
def test_what_changes_a_score_changes_the_key(changes):
    assert conditions(**changes).key != conditions().key


def test_every_field_of_the_conditions_is_in_the_key_or_named_here():
    changed = {
        "model_hash": "x",
        "task_hash": "x",
        "metric": "x",
        "fidelity": Fidelity(rows=7),
        "training": TrainingSettings(batch_size=7),
        "precision": "bfloat16",
        "table": "x",
    }
    assert set(Conditions.model_fields) == {*changed, "model", "task"}
    assert all(conditions(**{name: value}).key != conditions().key for name, value in changed.items())
