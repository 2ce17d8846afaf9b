"""train, predict and push: what they write, print and warn of, and that training is exact."""

import csv
import json
import re

import pytest
import torch
import yaml

from tests.cli.conftest import Outcome
from tests.search.conftest import autopeft


@pytest.fixture
def recipe(run, finished, tmp_path):
    """A recipe of LoRA, which the finished search has among its baselines."""
    rows = run("front", "mine", "--json").json["baselines"]
    lora = next(row["trial"] for row in rows if row["name"].startswith("LoRA"))
    assert run("export", "mine", "--pick", lora, "--out", tmp_path / "recipe").code == 0
    return tmp_path / "recipe" / "recipe.yaml"


@pytest.fixture
def change(recipe):
    """``change(edit)``: the recipe, edited."""

    def change(edit):
        document = yaml.safe_load(recipe.read_text())
        edit(document)
        recipe.write_text(yaml.safe_dump(document))
        return recipe

    return change


def test_a_search_gives_its_recipes_the_baselines_for_the_card(run, recipe, tmp_path):
    baselines = yaml.safe_load(recipe.read_text())["baselines"]
    assert "head only" in [baseline["name"] for baseline in baselines] and len(baselines) > 4
    assert run("train", recipe, "--out", tmp_path / "out").code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "beside what people pick by habit (trained in full, validation rows)" in card
    assert all(f"{baseline['mean']:.4f}" in card for baseline in baselines)


def test_the_same_recipe_gives_the_same_scores_to_the_last_digit_in_another_process(recipe, finished, tmp_path):
    def train(name):
        done = autopeft("train", str(recipe), "--seeds", "2", "--out", name, home=finished, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        facts = json.loads((tmp_path / name / "metrics.json").read_text())
        for run in facts["runs"]:
            del run["seconds"], run["peak_memory"]
        return facts, (tmp_path / name / "modules.safetensors").read_bytes()

    first, second = train("one"), train("two")
    assert first == second
    # And those of the search, which confirmed it with the first of these seeds.
    confirmed = yaml.safe_load(recipe.read_text())
    assert confirmed["seeds"] == [0]
    assert first[0]["runs"][0]["metrics"]["validation"]["accuracy"] == confirmed["scores"]["mean"]


def test_other_packages_are_warned_of_and_the_score_is_compared(run, change, tmp_path):
    def edit(document):
        document["versions"] |= {"torch": "1.2.3", "peft": "0.0.1"}
        document["scores"]["mean"] = 0.25

    outcome = run("train", change(edit), "--out", tmp_path / "out")
    assert outcome.code == 0
    told = [line for line in outcome.err.splitlines() if line.startswith(("warning: ", "seed "))]
    before, after = told[:2], told[-2:]
    assert before == after and len(told) == 5  # the line of the only seed is between them
    assert f"warning: the recipe was made with torch 1.2.3; here is {torch.__version__}" in before
    assert any("peft 0.0.1; here is" in warning for warning in before)
    now, points = re.search(
        r"^validation accuracy: (0\.\d{4}|1\.0000) now, 0\.2500 in the recipe, (\S+) points$",
        outcome.out,
        re.MULTILINE,
    ).groups()
    assert float(points) == pytest.approx(100 * (float(now) - 0.25), abs=0.01)


def test_a_recipe_of_an_older_schema_is_trained_and_one_of_a_newer_is_not(recipe, finished, change, tmp_path):
    def train():
        return autopeft("train", str(recipe), "--out", "out", home=finished, cwd=tmp_path)

    change(lambda document: (document.update(schema=1), document.pop("baselines")))
    done = train()
    assert done.returncode == 0 and "recipe.yaml has schema 1, and is read as schema 2\n" in done.stderr
    change(lambda document: document.update(schema=9))
    done = train()
    assert done.returncode == 2 and "newer than AutoPEFT" in done.stderr and "Traceback" not in done.stderr


def test_merge_writes_a_plain_model_and_refuses_what_it_cannot_fold(run, recipe, change, tmp_path):
    assert run("train", recipe, "--out", tmp_path / "out", "--merge").code == 0
    assert (tmp_path / "out" / "merged" / "model.safetensors").is_file()

    def edit(document):
        document["architecture"]["placements"].append(
            {"module": "serial_adapter", "site": "ffn", "layers": [0, 1], "size": 2}
        )

    outcome = run("train", change(edit), "--out", tmp_path / "other", "--merge")
    assert outcome.code == 7 and outcome.out == ""
    assert outcome.err.startswith("error: format 'plain transformers model' cannot hold this architecture:\n")
    assert "- serial_adapter at ffn of layer 0, 1: " in outcome.err
    assert not (tmp_path / "other").exists()


@pytest.fixture
def trained(run, recipe, tmp_path):
    assert run("train", recipe, "--out", tmp_path / "trained").code == 0
    return tmp_path / "trained"


@pytest.fixture
def new(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("id,text\n" + "".join(f"{i},w{i % 60} w{(7 * i) % 60}\n" for i in range(2500)))
    return path


def test_a_file_of_predictions_says_what_is_printed(run, trained, new, tmp_path):
    printed = run("predict", trained, "--input", new)
    lines = [line.split("\t") for line in printed.out.splitlines()]
    assert len(lines) == 2500 and printed.err == ""
    outcome = run("predict", trained, "--input", new, "--out", tmp_path / "found.csv", "--batch-size", 7)
    assert (outcome.code, outcome.out) == (0, "") and "wrote" in outcome.err
    with (tmp_path / "found.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["label", "probability"]
    assert [label for label, _ in rows] == [label for label, _ in lines]
    assert [float(p) for _, p in rows] == pytest.approx([float(p) for _, p in lines], abs=2e-4)
    run("predict", trained, "--input", new, "--out", tmp_path / "found.jsonl")
    as_json = run("predict", trained, "--input", new, "--json")
    assert (tmp_path / "found.jsonl").read_text() == as_json.out
    assert {"recipe", "trained", "new.csv", "found.csv", "found.jsonl"} == {p.name for p in tmp_path.iterdir()}


def test_a_file_that_cannot_be_written_or_would_be_lost_is_refused_first(run, trained, new, tmp_path):
    def refused(out: object) -> Outcome:
        outcome = run("predict", trained, "--input", new, "--out", out)
        assert outcome.code == 2 and outcome.out == ""
        return outcome

    assert "suffix of out = '.txt': unknown; known: .csv, .jsonl" in refused(tmp_path / "found.txt").err
    assert "give a file in a folder that is there" in refused(tmp_path / "nowhere" / "found.csv").err
    before = new.read_bytes()
    assert "this is the input; choose another name" in refused(new).err
    assert new.read_bytes() == before
    new.write_text(new.read_text() + "2500\n")
    (tmp_path / "found.csv").write_text("mine")
    assert "line 2502" in refused(tmp_path / "found.csv").err
    assert (tmp_path / "found.csv").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_push_without_a_token_or_of_another_folder_is_bad_input(run, trained, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    outcome = run("push", trained, "me/reviews")
    assert outcome.code == 2 and "error: token of the hub: none found; set HF_TOKEN" in outcome.err
    outcome = run("push", tmp_path, "me/reviews")
    assert outcome.code == 2 and "not a trained model" in outcome.err


def test_push_without_a_network_ends_with_one_line(run, trained, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_fortests")
    outcome = run("push", trained, "me/reviews")
    assert outcome.code == 6 and outcome.out == ""
    assert [line for line in outcome.err.splitlines() if line.startswith("error: ")] == outcome.err.splitlines()[1:]
