"""The same with nothing made up: real controllers, real Ray, real training."""

import json
import os
import random
import subprocess
import sys
import time

import psutil
import pytest

from autopeft.store import Store
from tests.cli.conftest import write_job
from tests.search.conftest import autopeft, home

__all__ = ["home"]
KILLS, BUDGET = 2, 30


def belongings(folder):
    """Return the processes that have this data folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AUTOPEFT_HOME") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_for_trials(store, count, process):
    deadline = time.monotonic() + 120
    while finished(store) < count:
        assert time.monotonic() < deadline and process.poll() is None, "no trial was finished"
        time.sleep(0.05)


def finished(store):
    (record,) = store.list()
    counts = store.trials.counts(record.id)
    return sum(counts.values()) - counts.get("running", 0)


@pytest.mark.slow
def test_a_submitted_search_survives_its_controllers_and_leaves_no_process(tiny_model, tiny_task, home, tmp_path):
    job = write_job(
        tmp_path / "job.yaml", tiny_model, tiny_task, executor="ray", workers=2, budget=BUDGET, space="autopeft"
    )
    assert autopeft("submit", str(job), home=home).returncode == 0
    store = Store(f"sqlite:///{home / 'autopeft.db'}")
    environment = {**os.environ, "AUTOPEFT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    rng = random.Random(20261121)
    told: dict[int, tuple[str, float | None]] = {}
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "autopeft", "controller", "--once"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_trials(store, len(told) + 1, process)
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        process.wait()
        trials = store.trials.page(store.list()[0].id, 1000)
        now = {trial.number: (trial.fingerprint, trial.score) for trial in trials if trial.state != "running"}
        assert now.items() >= told.items(), "a finished trial was lost or changed"
        told = now
    assert 0 < len(told) < BUDGET, "the kills are to hit a search under way"

    ended = autopeft("controller", "--once", home=home)
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(autopeft("show", "mine", "--json", home=home).stdout)
    assert shown["state"] == "done" and len(shown["trials"]) == BUDGET
    # What was running at two kills is not given up yet.
    assert all(trial["reason"] in (None, "pruned") for trial in shown["trials"])
    assert len({trial["fingerprint"] for trial in shown["trials"]}) == BUDGET
    assert told.items() <= {t["trial"]: (t["fingerprint"], t["score"]) for t in shown["trials"]}.items()
    _, alive = psutil.wait_procs(belongings(home), timeout=30)
    assert not alive, [process.cmdline()[:3] for process in alive]
