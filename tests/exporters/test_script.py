"""The exported script, run by itself, scores what ``autopeft train`` scores."""

import csv
import json
import os
import runpy
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.errors import LossyExport
from autopeft.exporters import export
from autopeft.exporters.script import METRICS as WRITTEN
from autopeft.messages import TaskSpec
from autopeft.retrain import retrain
from autopeft.tasks import load_task
from autopeft.tasks.metrics import METRICS

PARTS = ("holdout", "validation", "test")
FIDELITY = {"rows": 160, "epochs": 1.5, "evaluations": 3, "rungs": (1 / 3,), "held_out_rows": 70}


def lora():
    places = [("attention.query", 4), ("attention.value", 8), ("ffn.out", 2)]
    options = (("alpha", 12.0),)
    return Architecture(
        tuple(Placement("lora", site, layer, size, options) for site, size in places for layer in (1, 4, 5))
    )


def ia3():
    sites = ("attention.key", "attention.value", "ffn.hidden")
    return Architecture(tuple(Placement("ia3", site, layer) for site in sites for layer in range(6)))


def mixed():
    placements = [Placement("serial_adapter", "ffn", layer, 24, (("bias", False),)) for layer in (2, 5)]
    placements += [Placement("prefix", "attention.kv", layer, 3) for layer in (0, 5)]
    placements += [Placement("layer_norm", "norm.ffn", 3), Placement("lora", "ffn.in", 3, 2, (("gate", True),))]
    return Architecture(tuple(placements))


ARCHITECTURES = {"lora": lora, "ia3": ia3, "mixed": mixed, "head only": Architecture}


@pytest.fixture(scope="module")
def docstrings(tmp_path_factory):
    """A CSV file of real texts in three classes, which MiniLM tells apart better with training than without."""
    data = load_task(TaskSpec(name="docstrings"))
    path = tmp_path_factory.mktemp("data") / "docstrings.csv"
    rows = [(text, data.labels[label]) for text, label in zip(data.train.first, data.train.targets, strict=True)]
    chosen = [row for row in rows if row[1] in data.labels[:3]][:420]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *chosen])
    return TaskSpec(name=str(path), max_length=48)


def run_script(folder, *arguments):
    """Run the script as its reader would, offline, in a process that has nothing of this one."""
    environment = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "train.py", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "warning: these are not the data" not in done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(PARTS)]
    return {part: float(value) for part, _, value in lines}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_script_scores_what_autopeft_train_scores(name, docstrings, make_recipe, tmp_path):
    recipe = make_recipe("minilm", docstrings, ARCHITECTURES[name](), FIDELITY, {"batch_size": 16}, seeds=[3])
    ours = retrain(recipe, [3], tmp_path / "ours").scores
    (file,) = export(recipe, "script", None, tmp_path / "script")
    assert ("from autopeft" in file.read_text()) == (name not in ("lora", "ia3"))
    theirs = run_script(tmp_path / "script", "trained")
    assert list(theirs) == list(PARTS)
    for part in PARTS:
        assert theirs[part] == pytest.approx(ours[part]["accuracy"].mean, abs=0.005)
    assert any((tmp_path / "script" / "trained").glob("*.safetensors"))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("task", ["docstrings", "file"])
def test_the_script_imports_what_it_uses_and_says_what_it_needs(name, task, docstrings, make_recipe, tmp_path):
    spec = docstrings if task == "file" else TaskSpec(name=task)
    (file,) = export(make_recipe("minilm", spec, ARCHITECTURES[name]()), "script", None, tmp_path)
    rules = ["check", "--isolated", "--select", "F,I,E9", "--line-length", "119", str(file)]
    assert subprocess.run([sys.executable, "-m", "ruff", *rules], capture_output=True, text=True).stdout == (
        "All checks passed!\n"
    )
    beginning = file.read_text().partition("import ")[0]
    alone = task == "file" and name in ("lora", "ia3")
    assert ("It does not need autopeft" in beginning) == alone
    assert ("It needs autopeft too" in beginning) == (not alone)


def table_of(kind, folder):
    """Write rows in a format of files, and return the task."""
    rows = [
        {"question1": f'one "{i}", and\nmore', "question2": f"two {i % 7}", "label": i % 3 + 0.0} for i in range(80)
    ]
    if kind == "scores":
        rows = [{"text": row["question1"], "score": row["label"] / 7} for row in rows]
    if kind in ("csv", "tsv", "scores"):
        path = folder / f"rows.{kind if kind != 'scores' else 'csv'}"
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        path = folder / "rows.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path = folder / "rows.jsonl" if kind == "jsonl" else folder / "task"
        path.parent.mkdir(exist_ok=True)
        files = [path]
        if kind == "folder":
            path.mkdir()
            files = [path / "train.jsonl", path / "dev.jsonl"]
        for file in files:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TaskSpec(name=str(path))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "folder", "scores"])
def test_the_script_reads_and_cuts_files_as_autopeft_does(kind, make_recipe, tmp_path, capsys):
    task = table_of(kind, tmp_path)
    (file,) = export(make_recipe("minilm", task, lora()), "script", None, tmp_path / "out")
    script = runpy.run_path(str(file))
    splits, data = script["load_splits"](), load_task(task)
    assert capsys.readouterr().err == ""
    for name, (texts, targets) in splits.items():
        ours = data.train if name == "train" else data.part(name)
        assert texts[0] == list(ours.first)
        assert texts[1:] == ([] if ours.second is None else [list(ours.second)])
        assert targets.tolist() == ours.targets.tolist()


def test_the_script_says_when_the_data_are_others(make_recipe, tmp_path, capsys):
    task = table_of("csv", tmp_path)
    (file,) = export(make_recipe("minilm", task, lora()), "script", None, tmp_path / "out")
    path = tmp_path / "rows.csv"
    path.write_text(path.read_text().replace("two 3", "three"))
    runpy.run_path(str(file))["load_splits"]()
    assert "these are not the data that the architecture was found on" in capsys.readouterr().err


def test_columns_that_cannot_be_looked_up_are_an_obstacle_unless_the_recipe_names_them(make_recipe, tmp_path):
    task = table_of("csv", tmp_path)
    recipe = make_recipe("minilm", task, lora())
    (tmp_path / "rows.csv").unlink()
    with pytest.raises(LossyExport, match="names the columns of the data: task = .*neither a file nor a folder"):
        export(recipe, "script", None, tmp_path / "out")
    named = recipe.task.model_copy(update={"text": ("question1", "question2"), "label": "label"})
    export(recipe.model_copy(update={"task": named}), "script", None, tmp_path / "out")


def test_the_script_knows_every_metric():
    assert set(WRITTEN) == set(METRICS)


def test_no_name_in_a_recipe_becomes_code(make_recipe, docstrings, tmp_path):
    recipe = make_recipe("minilm", docstrings, lora())
    bad = '\\"""\nraise SystemExit("run")\n"""'
    search = recipe.search.model_copy(update={"name": bad})
    task = recipe.task.model_copy(update={"labels": (bad, "b", "c")})
    (file,) = export(recipe.model_copy(update={"search": search, "task": task}), "script", None, tmp_path)
    assert runpy.run_path(str(file))["LABELS"] == [bad, "b", "c"]
