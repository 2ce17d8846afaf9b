"""``autopeft worker`` and ``--ray-address`` where there is no cluster; tests/search/test_cluster.py has one."""

import pytest

from autopeft.settings import Settings
from tests.cli.conftest import write_job


def test_a_worker_needs_an_address(run, home):
    outcome = run("worker")
    assert outcome.code == 2
    assert "ray-address: give that of the cluster's head" in outcome.err


@pytest.mark.parametrize("variable", [True, False])
def test_a_worker_says_that_nothing_listens(run, home, monkeypatch, variable):
    if variable:
        monkeypatch.setenv("AUTOPEFT_RAY_ADDRESS", "127.0.0.1:1")
    outcome = run("worker", *([] if variable else ["--ray-address", "127.0.0.1:1"]))
    assert outcome.code == 6
    assert outcome.err.startswith("error: no Ray cluster at 127.0.0.1:1: ")


def test_the_option_wins_over_the_environment(run, home, monkeypatch, tiny_model, tiny_task, tmp_path):
    monkeypatch.setenv("AUTOPEFT_RAY_ADDRESS", "127.0.0.1:2")
    job = write_job(tmp_path / "job.yaml", tiny_model, tiny_task, executor="ray")
    outcome = run("search", job, "--ray-address", "127.0.0.1:1")
    assert outcome.code == 6
    assert "no Ray cluster at 127.0.0.1:1" in outcome.err and "--executor inline needs none" in outcome.err
    assert Settings.from_environment().ray_address == "127.0.0.1:1"
    monkeypatch.setenv("AUTOPEFT_RAY_ADDRESS", "127.0.0.1:2")
    assert "no Ray cluster at 127.0.0.1:2" in run("resume", "mine").err
