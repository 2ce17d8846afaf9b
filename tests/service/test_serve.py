"""`autopeft serve` as a process: a search from an upload to its recipe, and how it starts and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.search.conftest import autopeft
from tests.service.conftest import ROWS

FIDELITY = {"rows": 32, "epochs": 1, "evaluations": 1, "rungs": [], "held_out_rows": 16}
SECRET = "apt_" + "0123456789abcdef" * 2
LIMIT = 240.0


@contextmanager
def _serving(
    home: Path, *arguments: str, **environment: str
) -> Iterator[tuple["subprocess.Popen[str]", httpx.Client]]:
    settings = {**os.environ, "AUTOPEFT_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
    with open(home.parent / "serve.log", "w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "autopeft", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=settings,
            cwd=home.parent,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), Path(log.name).read_text()
            with httpx.Client(base_url=address, timeout=LIMIT) as client:
                _wait(lambda: client.get("/healthz").status_code == 200)
                yield process, client
        finally:
            process.kill()
            process.wait()


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            if done():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("not in time")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_is_sent_and_its_winner_fetched_and_ctrl_c_ends_it_all(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with _serving(home) as (process, client):
        children = psutil.Process(process.pid)
        upload = client.post("/api/v1/uploads", files={"file": ("reviews.csv", ROWS.encode())}).json()
        body = {
            "name": "reviews",
            "task": upload["task"],
            "budget": 3,
            "executor": "inline",
            "confirm": 1,
            "proxy": FIDELITY,
            "full": FIDELITY,
        }
        made = client.post("/api/v1/searches", json=body)
        assert made.status_code == 202, made.text
        kinds, last = [], ""
        with client.stream(
            "GET", f"/api/v1/searches/{made.json()['id']}/events", headers={"Accept": "text/event-stream"}
        ) as stream:
            for line in stream.iter_lines():
                kinds += [line.removeprefix("event: ")] if line.startswith("event: ") else []
                last = line if line.startswith("data: ") else last
        assert kinds[:2] == ["submitted", "state"] and kinds.count("progress") >= 4
        assert json.loads(last.removeprefix("data: "))["state"] == "done"
        search = client.get("/api/v1/searches/reviews").json()
        assert search["state"] == "done" and search["trials"]["complete"] == 3
        front = client.get("/api/v1/searches/reviews/front").json()
        assert front["front"] and front["pick"]["best"] is not None
        recipe = client.get("/api/v1/searches/reviews/recipe")
        assert recipe.status_code == 200 and b"schema:" in recipe.content
        assert str(home) not in recipe.text + client.get("/api/v1/searches/reviews/trials").text
        assert client.get("/readyz").json()["own_controller"] == "alive"
        below = children.children(recursive=True)
        assert below
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
        assert psutil.wait_procs(below, timeout=10)[1] == []
    # The search that was made over REST is like any other.
    assert "reviews" in autopeft("front", "reviews", home=home).stdout


def test_a_controller_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with _serving(tmp_path / "home") as (process, client):
        first = _controller(process.pid)
        first.kill()
        _wait(lambda: _controller(process.pid).pid != first.pid)
        assert client.get("/healthz").status_code == 200
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _controller(pid: int) -> psutil.Process:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        for child in psutil.Process(pid).children():
            if child.status() != psutil.STATUS_ZOMBIE and "controller" in child.cmdline():
                return child
        time.sleep(0.1)
    raise AssertionError("no controller")


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    home = tmp_path / "home"
    refused = autopeft("serve", "--host", "0.0.0.0", "--port", "0", home=home)
    assert refused.returncode == 2 and "autopeft token create" in refused.stderr
    file = tmp_path / "token"
    file.write_text(SECRET + "\n")
    with _serving(home, "--host", "0.0.0.0", "--no-controller", "--token-file", str(file)) as (_, client):
        assert client.get("/api/v1/me").status_code == 401
        answer = client.get("/api/v1/me", headers={"Authorization": f"Bearer {SECRET}"})
        assert answer.json() == {"owner": "operator", "scopes": ["admin"], "open": False}


def test_a_token_that_could_be_guessed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    refused = autopeft("serve", "--port", "0", "--token-file", str(file), home=tmp_path / "home")
    assert refused.returncode == 2 and "too short" in refused.stderr
    missing = autopeft("serve", "--port", "0", "--token-file", str(tmp_path / "no"), home=tmp_path / "home")
    assert missing.returncode == 2 and "token-file" in missing.stderr


def test_a_port_that_is_taken_is_told_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = autopeft("serve", "--port", port, "--no-controller", home=tmp_path / "home")
    assert refused.returncode == 4 and f"port {port} is taken" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_address_that_is_not_here_is_told_plainly(tmp_path: Path) -> None:
    refused = autopeft("serve", "--host", "nowhere.invalid", "--no-controller", home=tmp_path / "home")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = autopeft("token", "create", "--owner", "ada", "--scope", "submit", home=home)
    assert made.returncode == 0 and made.stdout.startswith("apt_") and len(made.stdout.split()) == 1
    listed = autopeft("token", "list", "--json", home=home)
    (token,) = json.loads(listed.stdout)
    assert token["owner"] == "ada" and token["scopes"] == ["submit"] and not token["revoked"]
    assert made.stdout.strip() not in listed.stdout
    assert autopeft("token", "revoke", token["id"], home=home).returncode == 0
    assert "revoked" in autopeft("token", "list", home=home).stdout
    assert autopeft("token", "revoke", "t-nothing", home=home).returncode == 3
    wrong = autopeft("token", "create", "--owner", "ada", "--scope", "everything", home=home)
    assert wrong.returncode == 2 and "admin" in wrong.stderr
