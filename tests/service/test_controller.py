"""`autopeft controller` as a process, and what it leaves open."""

import gc
import shutil
from pathlib import Path

import psutil
import pytest

from autopeft.dispatcher import Dispatcher
from autopeft.settings import Settings
from autopeft.store import Store, Submission
from autopeft.submission import submit_options
from tests.hub import NAME, make_decoy, make_hub
from tests.search.conftest import autopeft, home, options, tiny_model, tiny_task

__all__ = ["home", "options", "tiny_model", "tiny_task"]


def test_a_folder_where_the_controller_is_started_is_not_taken_for_a_model_of_the_hub(
    options: dict[str, object], home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, facts = submit_options({**options, "budget": "2", "confirm": 0})
    store = Store(Settings.from_environment().database_url)
    # As the model of the folder that the hub's is made of was submitted, its runs are held to no weights.
    made = store.create(plan.spec.model_copy(update={"model": NAME}), facts | {"model_hash": ""}, Submission("ada"))
    for name, value in make_hub(tmp_path / "hub", tiny_model).items():
        monkeypatch.setenv(name, value)
    make_decoy(tmp_path)
    done = autopeft("controller", "--once", home=Path("home"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = store.get(made.id)
    assert (record.state, record.detail) == ("done", "")
    assert store.trials.counts(made.id) == {"complete": 2}


def test_a_data_set_in_a_folder_is_the_same_one_wherever_the_controller_works(
    options: dict[str, object], tiny_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    shutil.copy(tiny_task, tmp_path / "set" / "train.csv")
    monkeypatch.chdir(tmp_path)
    plan, _ = submit_options({**options, "task": {"name": "hf:./set"}})
    assert plan.spec.task.name == f"hf:{tmp_path}/set"


def test_a_controller_gives_the_connections_of_each_search_back(options: dict[str, object], home: Path) -> None:
    settings = Settings.from_environment()
    store = Store(settings.database_url)
    dispatcher = Dispatcher(store, settings)
    held = []
    gc.disable()  # what would be collected some day is to be given back at once
    try:
        for seed in range(3):
            plan, facts = submit_options({**options, "budget": "1", "confirm": 0, "baselines": False, "seed": seed})
            store.create(plan.spec, facts, Submission("ada"))
            dispatcher.run(until_idle=True)
            held.append(sum(file.path.endswith(".db") for file in psutil.Process().open_files()))
    finally:
        gc.enable()
    assert [record.state for record in store.list()] == ["done"] * 3
    assert held[0] == held[1] == held[2]
