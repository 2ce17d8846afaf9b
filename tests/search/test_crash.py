"""Real `kill -9` of the controller at random moments: nothing that was finished is lost or doubled."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import yaml

from tests.search.conftest import autopeft

KILLS = 5  # of a whole process, with its imports; tests.chaos has many of the controller alone
BUDGET = 40


def write_job(path: Path, model: Path, task: Path, **more: object) -> Path:
    fidelity = {"rows": 64, "epochs": 1, "evaluations": 1, "held_out_rows": 32}
    job = {
        "name": "mine",
        "model": str(model),
        "task": {"name": str(task)},
        "executor": "inline",
        "sampler": "tpe",
        "budget": str(BUDGET),
        "confirm": 1,
        "proxy": fidelity,
        "full": dict(fidelity),
    }
    path.write_text(yaml.safe_dump({**job, **more}))
    return path


def finished(home: Path) -> dict[int, tuple[str, tuple[object, ...]]]:
    """Number to fingerprint and values of every trial that Optuna's storage says is complete, or was stopped early."""
    url = f"sqlite:///{home / 'autopeft.db'}"
    try:
        study = optuna.load_study(study_name="mine", storage=optuna.storages.RDBStorage(url))
    except KeyError:
        return {}
    ended = study.get_trials(states=[optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED])
    return {t.number: (t.user_attrs["fingerprint"], tuple(t.values or (t.user_attrs["detail"],))) for t in ended}


@pytest.mark.slow
def test_kill_dash_nine_again_and_again_loses_and_doubles_nothing(tiny_model, tiny_task, home, tmp_path):
    job = write_job(tmp_path / "job.yaml", tiny_model, tiny_task)
    rng = random.Random(20261121)
    environment = {**os.environ, "AUTOPEFT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autopeft", "search", str(job)]
    acknowledged: dict[int, tuple[str, tuple[object, ...]]] = {}
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        # Let it say something first, so that kills hit the work and not the imports; then any moment will do.
        for line in process.stderr:
            if line.startswith("trial"):
                break
        time.sleep(rng.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        now = finished(home)
        assert now.items() >= acknowledged.items(), "a finished trial was lost or changed"
        acknowledged = now
        command = [sys.executable, "-m", "autopeft", "resume", "mine"]
    assert 0 < len(acknowledged) < BUDGET, "the kills are to hit a search under way"

    ended = autopeft("resume", "mine", "--json", home=home)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["state"] == "done"
    final = finished(home)
    assert final.items() >= acknowledged.items()
    shown = json.loads(autopeft("show", "mine", "--json", home=home).stdout)["trials"]
    assert len([t for t in shown if t["state"] in ("complete", "pruned")]) == BUDGET == len(shown)
    assert max(Counter(fingerprint for fingerprint, _ in final.values()).values()) == 1


@pytest.mark.slow
def test_ctrl_c_drains_and_a_second_one_stops(tiny_model, tiny_task, home, tmp_path):
    job = write_job(tmp_path / "job.yaml", tiny_model, tiny_task, budget="200", confirm=0)
    environment = {**os.environ, "AUTOPEFT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autopeft", "search", str(job)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial 2:"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Ctrl-C again stops at once" in errors and "autopeft resume mine" in errors
    shown = json.loads(autopeft("show", "mine", "--json", home=home).stdout)
    assert shown["state"] == "interrupted"
    assert all(t["state"] == "complete" for t in shown["trials"]) and 3 <= len(shown["trials"]) < 200
