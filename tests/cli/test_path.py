"""The whole path of a user, through real processes: from a search to predictions, and on with the search."""

import csv
import json
import shlex

import pytest
from safetensors import safe_open

from tests.search.conftest import autopeft, make_task


@pytest.mark.slow
def test_from_search_to_predictions(job, home, tmp_path):
    def run(*arguments, code=0, **more):
        done = autopeft(*map(str, arguments), home=home, cwd=tmp_path, **more)
        assert done.returncode == code, (arguments, done)
        assert "Traceback" not in done.stderr
        return done

    searched = run("search", job)
    assert "Pareto front of mine: accuracy, confirmed on the validation split" in searched.stdout
    assert "trial 9: " in searched.stderr and "Next: autopeft export mine --pick knee" in searched.stdout
    assert "mine" in run("list").stdout
    assert "LoRA r=8 q,v" in run("show", "mine").stdout

    plots = run("front", "mine", "--plot", "front.png", "--plot", "front.html", "--json")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "<html" in (tmp_path / "front.html").read_text()
    assert "wrote front.png" in plots.stderr and "wrote front.html" in plots.stderr
    rows = json.loads(plots.stdout)["baselines"]
    lora = next(row["trial"] for row in rows if row["name"].startswith("LoRA"))

    # The line that the search ends with works as it stands.
    following = searched.stdout.strip().splitlines()[-1].removeprefix("Next: autopeft ")
    assert run(*shlex.split(following)).stdout == "mine-recipe/recipe.yaml\n"
    adapter = run("export", "mine", "--pick", lora, "--format", "peft", "--out", "adapter").stdout.split()
    assert "adapter/adapter_config.json" in adapter
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as tensors:
        assert any("lora_A" in name for name in tensors.keys())  # noqa: SIM118 - not a mapping

    run("export", "mine", "--pick", lora, "--out", "recipe")
    trained = run("train", "recipe/recipe.yaml", "--seeds", "2", "--out", "trained")
    assert "validation" in trained.stdout and "test" in trained.stdout
    assert "seed 0: " in trained.stderr and "seed 1: " in trained.stderr

    make_task(tmp_path / "new.csv", rows=12, seed=5)
    with (tmp_path / "new.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    by_csv = run("predict", "trained", "--input", "new.csv").stdout
    labels, shares = zip(*(line.split("\t") for line in by_csv.splitlines()), strict=True)
    assert len(labels) == 12 and set(labels) <= {"low", "high"} and all(0.5 <= float(p) <= 1 for p in shares)
    piped = run("predict", "trained", "--input", "-", "--json", input="\n".join(texts)).stdout
    predicted = [json.loads(line) for line in piped.splitlines()]
    assert [p["label"] for p in predicted] == list(labels)
    assert all(p.keys() == {"label", "probabilities"} and len(p["probabilities"]) == 2 for p in predicted)

    resumed = json.loads(run("resume", "mine", "--budget", "+4", "--json").stdout)
    assert resumed["state"] == "done"
    shown = json.loads(run("show", "mine", "--json").stdout)
    assert len(shown["trials"]) == 14 and shown["spec"]["budget"] == "14"
    assert "search mine: done already" in run("cancel", "mine").stderr
