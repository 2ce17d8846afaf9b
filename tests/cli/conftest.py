"""The command line in this process, where it is quick, and one finished search to read from."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml

from autopeft.cli.app import main, make_app
from tests.search.conftest import home, options, tiny_model, tiny_task

__all__ = ["home", "options", "tiny_model", "tiny_task"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models train many times slower on several threads where other processes want the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


FIDELITY = {"rows": 64, "epochs": 1, "evaluations": 1, "held_out_rows": 32}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]
APP: Any = typer.main.get_command(make_app())


def all_commands() -> dict[str, Any]:
    """Return every command by its name, sub-commands by both names (``spaces show``) after the one they are below."""
    found = {}
    for name, command in APP.commands.items():
        found[name] = command
        found.update({f"{name} {below}": sub for below, sub in getattr(command, "commands", {}).items()})
    return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("list", "--json")``: what the command line prints and exits with, without a process of its own."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("AUTOPEFT_DEBUG", "")
    # Nothing here is on the hub, and asking it for a misspelt name takes long where there is no network.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["autopeft", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        return Outcome(code, *capsys.readouterr())

    return call


def write_job(path: Path, model: Path, task: Path, **more: object) -> Path:
    job = {
        "name": "mine",
        "model": str(model),
        "task": {"name": str(task)},
        "space": "lora",
        "executor": "inline",
        "sampler": "random",
        "budget": 10,
        "confirm": 1,
        "proxy": {**FIDELITY, "rungs": []},
        "full": dict(FIDELITY),  # YAML would make an alias of the same one
        # Enough for scores above chance, so that the front has modules on it.
        "training": {"learning_rate": 0.02, "head_learning_rate": 0.02, "batch_size": 8},
    }
    path.write_text(yaml.safe_dump({**job, **more}))
    return path


@pytest.fixture
def job(tiny_model: Path, tiny_task: Path, tmp_path: Path) -> Path:
    """A job file of a search that takes a second or two."""
    return write_job(tmp_path / "job.yaml", tiny_model, tiny_task)


@pytest.fixture(scope="session")
def finished_home(tiny_model: Path, tiny_task: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with the finished search ``mine``; read it, and leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    job = write_job(folder / "job.yaml", tiny_model, tiny_task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOPEFT_HOME", str(folder / "home"))
        patch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
        patch.setattr(sys, "argv", ["autopeft", "search", str(job), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    yield folder / "home"


@pytest.fixture
def finished(finished_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished search's data folder, as the one in use."""
    monkeypatch.setenv("AUTOPEFT_HOME", str(finished_home))
    monkeypatch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
    return finished_home
