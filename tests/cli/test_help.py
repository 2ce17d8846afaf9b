"""Help: quick, complete, and readable in a terminal of 80 columns."""

import inspect
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import APP, all_commands

COMMANDS = all_commands()
HEAVY = {"torch", "transformers", "ray", "optuna", "sqlalchemy", "pandas", "scipy", "peft", "datasets", "matplotlib"}


def test_every_help_comes_without_the_heavy_packages():
    script = f"""
import contextlib, io, sys
from autopeft.cli.app import main
for arguments in [], *(name.split() for name in {sorted(COMMANDS)!r}):
    sys.argv = ["autopeft", *arguments, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, (arguments, ended.code)
    assert "Usage: autopeft" in out.getvalue(), arguments
    assert not sys.modules.keys() & {HEAVY!r}, (arguments, sys.modules.keys() & {HEAVY!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version_and_what_reads_a_stored_search_come_without_torch(finished, tmp_path):
    commands = [["--version"], ["list"], *([name, "mine"] for name in ("show", "front", "watch"))]
    commands.append(["front", "mine", "--plot", str(tmp_path / "front.html")])
    commands.append(["export", "mine", "--out", str(tmp_path / "recipe")])
    script = f"""
import sys
from autopeft.cli.app import main
for arguments in {commands!r}:
    sys.argv = ["autopeft", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, arguments
    assert not sys.modules.keys() & {{"torch", "transformers", "ray"}}, arguments
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+\.\d+\.\d+\n", done.stdout) and "mine" in done.stdout


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns_and_says_everything(run, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = run(*name.split(), "--help")
    assert outcome.code == 0 and outcome.err == ""
    assert max(map(len, outcome.out.splitlines())) <= 80
    # Square brackets are markup to Typer, and are lost or an error.
    command = COMMANDS[name] if name else APP
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", outcome.out).split())
    texts = [text for text in (getattr(parameter, "help", None) for parameter in command.params) if text]
    assert texts or name
    paragraphs = inspect.cleandoc(command.help).split("\n\n")
    for text in (*paragraphs, *texts):
        assert " ".join(text.split()).split()[0] in shown
        assert _words(text) <= _words(shown), (name, text)


def _words(text: str) -> set[str]:
    return set(text.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_command_and_its_options_say_what_they_are(name):
    command = COMMANDS[name]
    assert command.help and command.help.split("\n")[0].rstrip().endswith((".", "path.")), name
    assert all(parameter.help for parameter in command.params if parameter.name != "help")


def test_no_arguments_show_the_commands(run):
    outcome = run()
    assert outcome.code == 2
    assert all(re.search(rf"^│ {name} ", outcome.out, re.MULTILINE) for name in APP.commands)
