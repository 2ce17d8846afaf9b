"""What programs read: pure JSON on stdout, with the keys that docs/cli.md names, and progress on stderr alone."""

import json
import os
import subprocess
import sys

import pytest

ROW = {"trial", "name", "params", "params_percent", "score", "score_std", "seeds", "confirmed", "fingerprint"} | {
    "architecture"
}
ANSWER = {"search", "state", "metric", "front", "baselines"}


def test_search_prints_its_front_and_tells_its_progress_elsewhere(run, home, job):
    outcome = run("search", job, "--json", "--budget", "9", "--name", "yours")
    answer = outcome.json
    assert outcome.code == 0 and answer["state"] == "done" and answer["name"] == "yours"
    assert answer.keys() >= ANSWER
    assert "trial 8: " in outcome.err and "confirmation runs" in outcome.err


def test_front(run, finished):
    outcome = run("front", "mine", "--json")
    answer = outcome.json
    assert outcome.code == 0 and outcome.err == ""
    assert answer.keys() == ANSWER | {"name", "hypervolume", "baseline_hypervolume"}
    assert answer["state"] == "done" and answer["metric"] == "accuracy" and answer["front"]
    for row in answer["front"] + answer["baselines"]:
        assert row.keys() == ROW
        assert row["confirmed"] is True and row["seeds"] == 1 and row["score_std"] is None
    assert {"placements", "quantisation", "training"} >= answer["front"][-1]["architecture"].keys()
    assert [row["params"] for row in answer["front"]] == sorted(row["params"] for row in answer["front"])


def test_list_and_show(run, finished, tiny_model):
    (listed,) = run("list", "--json").json
    assert listed.keys() == {"id", "name", "state", "created", "spec"}
    shown = run("show", listed["id"], "--json").json
    assert shown.keys() == {"id", "name", "state", "detail", "seconds", "spec", "facts", "trials"}
    assert shown["name"] == "mine" and shown["spec"]["model"] == str(tiny_model)
    assert len(shown["trials"]) == 10
    keys = {"trial", "name", "state", "reason", "detail", "params", "score", "seconds", "fingerprint", "architecture"}
    keys |= {"curve", "steps", "source", "measures"}
    assert all(trial.keys() == keys for trial in shown["trials"])


@pytest.mark.parametrize(
    "command, keys",
    [
        ("modules", {"name", "summary", "source", "site_kinds", "sized", "options"}),
        ("samplers", {"name", "summary", "source"}),
        ("policies", {"name", "summary", "source"}),
        ("spaces", {"name", "summary", "source", "modules"}),
    ],
)
def test_lists_of_what_there_is(run, command, keys):
    outcome = run(command, "--json")
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.json and all(entry.keys() == keys for entry in outcome.json)
    printed = run(command).out
    assert all(entry["name"] in printed for entry in outcome.json)


def test_evaluations_are_listed_exported_and_counted(run, finished, tmp_path):
    every = run("evaluations", "--json").json
    assert every and all(one.keys() == {"conditions", "architecture", "seed", "report", "versions"} for one in every)
    proxies = [one for one in every if "validation" not in one["report"]["scores"]]
    assert len(proxies) == 10 and len(every) > 10
    printed = run("evaluations", "--search", "mine").out
    assert len(printed.splitlines()) > len(every)
    out = tmp_path / "runs.jsonl"
    assert f"wrote {len(every)} evaluations" in run("evaluations", "--search", "mine", "--out", out).err
    assert len(out.read_text().splitlines()) == len(every)
    assert run("evaluations", "--search", "nobody").code == 3


def test_tasks(run):
    document = run("tasks", "--json").json
    assert document.keys() == {"sources", "metrics"}
    assert all(source.keys() == {"name", "summary", "example"} for source in document["sources"])
    assert all(metric.keys() == {"name", "kind", "summary"} for metric in document["metrics"])


def test_empty_store_is_an_empty_list(run, home):
    assert run("list", "--json").json == []
    assert "no searches yet" in run("list").out


def test_reader_that_goes_away_is_no_fault(finished_home):
    environment = {**os.environ, "AUTOPEFT_HOME": str(finished_home)}
    command = f"'{sys.executable}' -m autopeft show mine --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stdout == "{" and done.stderr == ""


def test_json_is_not_wrapped_to_the_terminal(finished_home):
    environment = {**os.environ, "AUTOPEFT_HOME": str(finished_home), "COLUMNS": "20"}
    command = [sys.executable, "-m", "autopeft", "front", "mine", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["name"] == "mine"
