"""When something fails: what is told, and with which exit code."""

import re
import sqlite3
import traceback

import pytest

from autopeft import doctor
from autopeft.cli.app import main
from autopeft.store import Store
from tests.cli.conftest import write_job
from tests.search.conftest import autopeft


def test_internal_error_is_one_line_and_a_hint(run, home, monkeypatch):
    def fail(self):
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(Store, "list", fail)
    outcome = run("list")
    assert outcome.code == 1 and outcome.out == ""
    assert outcome.err == "error: RuntimeError: a wheel came off\nThis is a fault of autopeft; --debug shows where.\n"
    with pytest.raises(RuntimeError, match="a wheel came off") as raised:
        run("--debug", "list")
    assert "in fail" in "".join(traceback.format_exception(raised.value))


def test_debug_shows_the_traceback_of_a_mistake_too(home):
    plain = autopeft("show", "nothing", home=home)
    assert plain.returncode == 3 and plain.stderr == "error: no search named 'nothing'; there are: none yet\n"
    debug = autopeft("--debug", "show", "nothing", home=home)
    assert debug.returncode == 1 and "Traceback" in debug.stderr and "NotFound: no search named" in debug.stderr


def test_mistakes_in_a_process_of_its_own(home, tmp_path):
    done = autopeft("search", "--task", "./rows.csv", "--budget", "0", "--json", home=home, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(
        r"error: budget = '0': .*\nerror: task = './rows.csv': no such file or folder; .*\n", done.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_a_file_names_is_told_by_the_variable_of_the_file(run, home, tmp_path, monkeypatch):
    file = tmp_path / "url"
    monkeypatch.setenv("AUTOPEFT_DATABASE_URL_FILE", str(file))
    for url in ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "nonsense", "mysql://me:secret@host/x"):
        file.write_text(url)
        outcome = run("list")
        assert outcome.code == 2 and outcome.err.startswith("error: AUTOPEFT_DATABASE_URL_FILE = "), outcome
        assert "secret" not in outcome.err


@pytest.mark.parametrize(
    "url, pattern",
    [
        ("nonsense", "AUTOPEFT_DATABASE_URL = 'nonsense': no database URL; use sqlite:///"),
        ("foo+bar://x", r"AUTOPEFT_DATABASE_URL = 'foo\+bar': no database URL; use sqlite:///"),
        ("mysql://root:secret@host/x", "AUTOPEFT_DATABASE_URL = 'mysql': unknown; use sqlite:///"),
        ("sqlite:///{file}/x.db", "AUTOPEFT_DATABASE_URL = 'sqlite:///.*/x.db': cannot create its folder"),
        ("sqlite:///{file}", "AUTOPEFT_DATABASE_URL = 'sqlite:///.*': cannot be opened: file is not a database"),
        ("sqlite:///{folder}", "AUTOPEFT_DATABASE_URL = 'sqlite:///.*': cannot be opened: unable to open"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", r"AUTOPEFT_DATABASE_URL = 'postgresql\+psycopg://me:\*\*\*@"),
    ],
)
def test_database_that_cannot_be(run, home, tmp_path, monkeypatch, url, pattern):
    (tmp_path / "file").write_text("no database " * 100)
    url = url.format(file=tmp_path / "file", folder=tmp_path)
    monkeypatch.setenv("AUTOPEFT_DATABASE_URL", url)
    outcome = run("list")
    assert outcome.code == 2 and re.match(f"error: {pattern}", outcome.err), outcome
    assert "secret" not in outcome.err and outcome.err.count("\n") == 1


def test_home_that_is_a_file(run, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("AUTOPEFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
    outcome = run("list")
    assert outcome.code == 2 and "AUTOPEFT_HOME = " in outcome.err and "File exists" in outcome.err


@pytest.mark.parametrize("name", ["with blanks and ü", "what?", "100%", "a%20b", "a#b", "it's"])
def test_home_of_any_name(run, tmp_path, monkeypatch, name):
    monkeypatch.setenv("AUTOPEFT_HOME", str(tmp_path / name))
    monkeypatch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
    assert run("list").code == 0
    assert (tmp_path / name / "autopeft.db").is_file()


def test_database_that_breaks_on_the_way(run, home):
    run("list")
    with sqlite3.connect(home / "autopeft.db") as connection:
        connection.execute("DROP TABLE autopeft_searches")
    outcome = run("list")
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert outcome.err.startswith("error: the database does not answer: no such table")


@pytest.mark.parametrize(
    "arguments",
    [
        ["front", "mine", "--plot", "{file}/front.png"],
        ["export", "mine", "--out", "{file}/recipe"],
    ],
)
def test_place_that_cannot_be_written_to(run, finished, tmp_path, arguments):
    (tmp_path / "file").write_text("")
    outcome = run(*(argument.format(file=tmp_path / "file") for argument in arguments))
    assert outcome.code in (1, 2) and outcome.out == ""
    assert re.search(r"^error: .*file", outcome.err, re.MULTILINE) and "fault of autopeft" not in outcome.err


def test_search_whose_every_trial_fails_says_so(run, home, tiny_model, tiny_task, tmp_path):
    training = {"learning_rate": 1e38, "head_learning_rate": 1e38}
    job = write_job(tmp_path / "job.yaml", tiny_model, tiny_task, training=training)
    outcome = run("search", job, "--budget", "3")
    assert outcome.code == 1 and "Next:" not in outcome.out
    assert "error: no trial gave a score; `autopeft show mine` has the reasons" in outcome.err
    shown = run("show", "mine", "--json").json["trials"]
    assert [trial["reason"] for trial in shown] == ["diverged"] * 3 and all(trial["detail"] for trial in shown)
    assert all(f"diverged: {trial['detail']}"[:40] in run("show", "mine").out for trial in shown)


def test_ctrl_c_outside_of_a_run_is_quiet(run, home, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "list", interrupt)
    outcome = run("list")
    assert outcome.code == 130 and "Traceback" not in outcome.err


def test_doctor_looks_at_everything(run, home, monkeypatch):
    monkeypatch.setattr(doctor, "_RAY", "pass")
    outcome = run("doctor")
    assert outcome.code == 0
    for what in (
        "versions: Python 3",
        "CPU: ",
        "GPU: ",
        "store: ",
        f"data folder: {home}",
        "int8 base: ",
        "Ray: starts",
    ):
        assert what in outcome.out
    findings = run("doctor", "--json").json
    assert all(finding.keys() == {"what", "ok", "detail"} for finding in findings)


@pytest.mark.parametrize(
    "command, detail",
    [
        ("import time; time.sleep(60)", "did not start within 0.5 s; --executor inline needs none"),
        ("raise SystemExit('no network')", "did not start: no network; --executor inline needs none"),
    ],
)
def test_doctor_says_that_ray_does_not_start(run, home, monkeypatch, command, detail):
    monkeypatch.setattr(doctor, "_RAY", command)
    monkeypatch.setattr(doctor, "RAY_SECONDS", 0.5)
    outcome = run("doctor")
    assert outcome.code == 0 and f"FAIL Ray: {detail}" in outcome.out


def test_doctor_fails_where_nothing_can_be_kept(run, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("AUTOPEFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
    monkeypatch.setattr(doctor, "_RAY", "pass")
    outcome = run("doctor")
    assert outcome.code == 1 and "FAIL store: " in outcome.out and "FAIL data folder: " in outcome.out


def test_doctor_goes_on_where_a_folder_cannot_even_be_looked_for(run, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_HOME", str(tmp_path / ("long" * 100)))  # refused as a folder under a closed one is
    monkeypatch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
    monkeypatch.setattr(doctor, "_RAY", "pass")
    outcome = run("doctor")
    assert outcome.code == 1 and "FAIL data folder: " in outcome.out and "Ray: starts" in outcome.out


def test_main_leaves_by_sys_exit(monkeypatch):
    monkeypatch.setattr("sys.argv", ["autopeft", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
