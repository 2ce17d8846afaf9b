"""What people do without thinking."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from autopeft.lease import Lease
from autopeft.store import Store
from tests.cli.conftest import write_job
from tests.search.conftest import autopeft

QUICK = ("--budget", "2", "--confirm", "0")


@pytest.mark.parametrize("name", ['it\'s "mine"', "..\\[bold]etc[b]", "größer 🚀 $HOME"])
def test_name_of_any_kind_works_everywhere(run, home, job, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    searched = run("search", job, *QUICK, "--name", name)
    assert searched.code == 0, searched
    assert f"Pareto front of {name}: " in searched.out
    following = shlex.split(searched.out.strip().splitlines()[-1].removeprefix("Next: "))
    assert following[:3] == ["autopeft", "export", name]
    exported = run(*following[1:])
    assert exported.code == 0, exported
    (recipe,) = tmp_path.glob("*recipe/recipe.yaml")
    assert exported.out.strip() == str(recipe.relative_to(tmp_path))
    assert name in run("list").out and run("show", name).out.startswith(f"{name} (s-")
    assert run("front", name, "--plot", "front.html").code == 0


def test_same_command_twice(run, home, job):
    assert run("search", job, *QUICK).code == 0
    again = run("search", job, *QUICK)
    assert again.code == 4 and "choose another name or resume it" in again.err
    without_name = [run("search", job, *QUICK, "--name", name).code for name in ("a", "b")]
    assert without_name == [0, 0]


def test_resume_of_what_is_done_says_so(run, finished):
    outcome = run("resume", "mine")
    assert outcome.code == 0 and "done already; give it more with --budget, as +20" in outcome.err
    assert "Pareto front of mine" in outcome.out


def test_resume_of_a_running_search_changes_nothing(run, finished, finished_home):
    lease = Lease.take(Store(f"sqlite:///{finished_home / 'autopeft.db'}"), "mine")
    try:
        for more in ([], ["--budget", "+4"]):
            outcome = run("resume", "mine", *more)
            assert outcome.code == 4 and "search 'mine' is being worked on by" in outcome.err
        assert run("show", "mine", "--json").json["spec"]["budget"] == "10"
    finally:
        lease.stop()
        lease._store.release(lease.record, "done", 0.0)


def test_search_that_has_not_begun_can_be_looked_at(run, home, options):
    import autopeft  # noqa: PLC0415 - the name is that of the command line elsewhere here

    autopeft.Search(**options, name="later")
    assert "queued" in run("list").out
    assert "later" in run("show", "later").out
    assert "Search later: queued, and no trial has a score yet." in run("front", "later").out
    assert run("front", "later", "--json").json["front"] == []
    plot = run("front", "later", "--plot", "x.png")
    assert plot.code == 5 and "error: " in plot.err
    assert "search later: cancelled" in run("cancel", "later").err
    assert "search later: cancelled already" in run("cancel", "later").err


def test_search_that_was_interrupted_is_watched_no_longer(run, home, options):
    import autopeft  # noqa: PLC0415 - the name is that of the command line elsewhere here

    search = autopeft.Search(**options, name="left")
    store = Store(f"sqlite:///{home / 'autopeft.db'}")
    store.release(store.claim("left", "elsewhere:1:abc", 30), "interrupted", 1.0, "no Ray cluster at x:1")
    outcome = run("watch", search.record.id)
    assert outcome.code == 130
    assert "interrupted: no Ray cluster at x:1\ngo on with: autopeft resume left\n" in outcome.err


def test_search_that_is_cancelled_elsewhere_is_not_done(run, home, job, monkeypatch):
    monkeypatch.setattr(Store, "cancel_requested", lambda *_: True)
    outcome = run("search", job)
    assert outcome.code == 1 and "cancelled; go on with: autopeft resume mine" in outcome.err


def test_answer_is_there_when_model_and_data_are_gone(run, home, tiny_task, tiny_model, tmp_path):
    (tmp_path / "rows.csv").write_bytes(tiny_task.read_bytes())
    (tmp_path / "space.yaml").write_text(
        "schema: 1\nsummary: one\nmodules:\n  lora: {sites: [attention.query], size: [1, 2]}\n"
    )
    job = write_job(tmp_path / "job.yaml", tiny_model, tmp_path / "rows.csv", space=str(tmp_path / "space.yaml"))
    assert run("search", job, *QUICK).code == 0
    (tmp_path / "rows.csv").unlink()
    (tmp_path / "space.yaml").unlink()
    for arguments in (["list"], ["show", "mine"], ["front", "mine"], ["export", "mine", "--out", tmp_path / "out"]):
        assert run(*arguments).code == 0, arguments


def test_options_override_the_job_file_part_by_part(run, home, job):
    assert run("search", job, *QUICK, "--proxy-rows", "48", "--full-rows", "all", "--max-length", "32").code == 0
    spec = run("show", "mine", "--json").json["spec"]
    assert spec["proxy"] == {"rows": 48, "epochs": 1.0, "evaluations": 1, "rungs": [], "held_out_rows": 32}
    assert spec["full"]["rows"] is None and spec["task"]["max_length"] == 32 and spec["budget"] == "2"


@pytest.fixture
def trained(run, finished, tmp_path):
    run("export", "mine", "--out", tmp_path / "recipe")
    assert run("train", tmp_path / "recipe" / "recipe.yaml", "--out", tmp_path / "trained").code == 0
    return tmp_path / "trained"


def test_predictions_stay_beside_their_lines(run, trained, tmp_path):
    path = tmp_path / "new.TXT"
    path.write_bytes("\ufeffw1 w2\r\nw3\u2028w4\x0bw5\r\nw6\r\n\r\n".encode())
    assert len(run("predict", trained, "--input", path).out.splitlines()) == 3
    table = tmp_path / "new.csv"
    table.write_text("id,text\n1,w1 w2\n2,w40 w41 w42\n")
    path.write_text("w1 w2\nw40 w41 w42\n")
    assert run("predict", trained, "--input", path).out == run("predict", trained, "--input", table).out
    path.write_text("w1\n\nw2\n \n")
    outcome = run("predict", trained, "--input", path)
    assert outcome.code == 2 and "no text in line 2; fill it in or remove it" in outcome.err and outcome.out == ""


@pytest.mark.parametrize(
    "name, content, pattern",
    [
        ("new.txt", b"", "input = '.*': no text in it"),
        ("new.txt", b"caf\xe9\n", "encoding of new.txt = 'byte 0xe9 at offset 3, line 1': not utf-8"),
        ("new.csv", b"body\nw1\n", "text: no column of new.csv has a common name"),
        ("new.csv", b"text;label\nw1;a\n", "columns of new.csv = 'text;label': one column only"),
        ("new.doc", b"w1\n", "suffix of new.doc = '.doc': unknown"),
    ],
)
def test_input_that_cannot_be_predicted(run, trained, tmp_path, name, content, pattern):
    (tmp_path / name).write_bytes(content)
    outcome = run("predict", trained, "--input", tmp_path / name)
    assert outcome.code == 2 and re.match(f"error: {pattern}", outcome.err), outcome


def test_training_into_a_folder_of_something_else(run, finished, tmp_path):
    run("export", "mine", "--out", tmp_path / "recipe")
    outcome = run("train", tmp_path / "recipe" / "recipe.yaml", "--out", tmp_path / "recipe")
    assert outcome.code == 4 and "is not empty and holds no trained model" in outcome.err


@pytest.mark.slow
def test_two_searches_at_once_in_one_home(run, home, tiny_model, tiny_task, tmp_path):
    there = write_job(tmp_path / "there.yaml", tiny_model, tiny_task, name="there", budget=14, confirm=0)
    here = write_job(tmp_path / "here.yaml", tiny_model, tiny_task, name="here")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autopeft", "search", "--json", str(there)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any(line.startswith("trial 0: ") for line in process.stderr), "it did not begin"
    assert "running" in run("list").out
    answer = run("search", here, "--json").json
    assert answer["name"] == "here" and answer["state"] == "done"
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert json.loads(out)["name"] == "there" and len(run("show", "there", "--json").json["trials"]) == 14
    listed = run("list", "--json").json
    assert {search["name"]: search["state"] for search in listed} == {"there": "done", "here": "done"}


@pytest.mark.slow
def test_dashboard_serves_the_studies_on_this_machine_alone(finished_home):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "AUTOPEFT_HOME": str(finished_home)}
    command = [sys.executable, "-m", "autopeft", "dashboard", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        page = _read(f"http://127.0.0.1:{port}/dashboard", process)
        assert "<html" in page.lower()
        studies = json.loads(_read(f"http://127.0.0.1:{port}/api/studies", process))
        assert [study["study_name"] for study in studies["study_summaries"]] == ["mine"]
        taken = autopeft("dashboard", "--port", str(port), home=finished_home)
        assert taken.returncode == 4 and f"port {port} is taken; name another with --port" in taken.stderr
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in (0, 130) and "Traceback" not in errors
    assert f"http://127.0.0.1:{port}/dashboard" in errors


def _read(url: str, process: "subprocess.Popen[str]") -> str:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return answer.read().decode()
        except OSError:
            assert process.poll() is None and time.monotonic() < end, "the dashboard does not answer"
            time.sleep(0.2)
