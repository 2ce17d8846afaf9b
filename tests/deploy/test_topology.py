"""The processes of docker-compose.yml without containers, wired as there: a search goes through all of them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests import postgres
from tests.deploy.files import read_yaml
from tests.hub import NAME, make_decoy, make_hub
from tests.search.conftest import make_model, make_task

SERVICES = read_yaml("docker-compose.yml")["services"]
SECRETS = {"ray_token": "ray-0123456789abcdef0123456789abcdef", "admin_token": "apt_0123456789abcdef0123456789"}
FIDELITY = {"rows": 64, "epochs": 1, "evaluations": 1, "rungs": [], "held_out_rows": 32}
SEARCH = {
    "name": "through it all",
    "model": NAME,
    "space": "lora",
    "sampler": "random",
    "executor": "ray",
    "workers": 1,
    "budget": 4,
    "confirm": 1,
    "warm_start": "none",
    "proxy": FIDELITY,
    "full": FIDELITY,
}


class Topology:
    """Processes that are started as the Compose file's services are, each with the secrets that it is given there.

    Args:
        folder: for their homes, and what they print.
        ports: that stand for those of the file.
        secrets: contents by name.
        everywhere: variables of all of them.
    """

    def __init__(
        self, folder: Path, ports: dict[str, str], secrets: dict[str, str], everywhere: dict[str, str]
    ) -> None:
        self.folder = folder
        self._ports = ports
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._secrets = folder / "secrets"
        self._secrets.mkdir()
        for name, content in secrets.items():
            (self._secrets / name).write_text(content)
        outside = ("AUTOPEFT", "RAY", "HF_")
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
        self._environment |= {**everywhere, "OMP_NUM_THREADS": "1"}

    def start(self, service: str, *more: str) -> None:
        """Start a service of the file, with further arguments."""
        wired = SERVICES[service]
        environment = {name: self._here(value) for name, value in wired["environment"].items()}
        for value in wired["environment"].values():
            named = value.removeprefix("/run/secrets/")
            assert value == named or named in wired["secrets"], f"{service} is not given the secret {named}"
        # What is a volume of its own there is a home of its own here.
        (volume,) = [one.split(":")[0] for one in wired.get("volumes", [])] or [service]
        place = self.folder / volume
        place.mkdir(exist_ok=True)
        program, *arguments = map(self._here, wired["command"])
        module = {"autopeft": "autopeft", "ray": "ray.scripts.scripts"}[program]
        with self.log(service).open("wb") as log:
            self._processes[service] = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments, *more],
                env={**self._environment, "HOME": str(place), "AUTOPEFT_HOME": str(place / "data"), **environment},
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def log(self, service: str) -> Path:
        """Return the file of what a service prints."""
        return self.folder / f"{service}.log"

    def is_well(self) -> bool:
        """Whether all that was started is there."""
        return all(process.poll() is None for process in self._processes.values())

    def stop(self) -> dict[str, int]:
        """End all as a container engine does, the last that was started first; return their exit codes."""
        codes = {}
        for service, process in reversed(self._processes.items()):
            process.terminate()
            codes[service] = process.wait(60)
        return codes

    def belongings(self) -> list[psutil.Process]:
        """Return the processes that any of them has started and left."""
        found = []
        for process in psutil.process_iter():
            try:
                home = process.environ().get("HOME", "")
                if Path(home).is_relative_to(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def last_words(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in sorted(self.folder.glob("*.log")))

    def _here(self, text: str) -> str:
        text = text.replace("/run/secrets", str(self._secrets)).replace("0.0.0.0", "127.0.0.1")
        for there, here in self._ports.items():
            text = text.replace(there, here)
        return text


@contextmanager
def running(folder: Path) -> Iterator[tuple[Topology, str]]:
    """Start everything; yield it, and the address of the service."""
    ray, web = _free_port(), _free_port()
    # Ray's sockets do not fit into the long paths of pytest's folders.
    ray_folder = Path(f"/tmp/autopeft-test-{ray}")
    with ExitStack() as stack:
        database = stack.enter_context(postgres.running()).new_database()
        ports = {"ray-head:6379": f"127.0.0.1:{ray}", "--port=6379": f"--port={ray}", "8000": str(web)}
        hub = make_hub(folder / "hub", make_model(folder / "model"))
        topology = Topology(folder, ports, {**SECRETS, "database_url": database}, hub)
        stack.callback(shutil.rmtree, ray_folder, ignore_errors=True)
        stack.callback(lambda: [process.kill() for process in topology.belongings()])
        topology.start("ray-head", f"--temp-dir={ray_folder}", "--object-store-memory=100000000")
        topology.start("service")
        _wait(topology, lambda: _listens(ray), "no Ray head")
        topology.start("ray-worker-cpu", "--cpus", "1", "--gpus", "0")
        make_decoy(folder / "autopeft-data")
        topology.start("controller")
        _wait(topology, lambda: _listens(web), "no service")
        yield topology, f"http://127.0.0.1:{web}"


def _wait(topology: Topology, done: Callable[[], Any], what: str, seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert topology.is_well() and time.monotonic() < until, f"{what}\n{topology.last_words()}"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_goes_through_all_processes_and_none_of_them_is_left(tmp_path: Path) -> None:
    token = {"Authorization": f"Bearer {SECRETS['admin_token']}"}
    with running(tmp_path) as (topology, address), httpx.Client(base_url=address, timeout=60) as client:
        _wait(topology, lambda: client.get("/readyz").is_success, "not ready")
        rows = make_task(tmp_path / "rows.csv").read_bytes()
        assert client.post("/api/v1/uploads", files={"file": ("rows.csv", rows)}).status_code == 401
        client.headers.update(token)
        sent = client.post("/api/v1/uploads", files={"file": ("rows.csv", rows)}).json()
        made = client.post("/api/v1/searches", json={**SEARCH, "task": sent["task"]})
        assert made.status_code == 202, made.text
        place = made.headers["Location"]

        _wait(topology, lambda: client.get(place).json()["state"] not in ("queued", "running"), "not done")
        search = client.get(place).json()
        assert (search["state"], search["trials"]["complete"]) == ("done", 4), (search, topology.last_words())
        recipe = client.get(f"{place}/recipe")
        assert recipe.is_success and f"name: {NAME}" in recipe.text

        codes = topology.stop()
        _, alive = psutil.wait_procs(topology.belongings(), timeout=20)
        assert alive == [], [(process.pid, process.cmdline()[:4]) for process in alive]
        assert codes.items() >= {"service": 130, "controller": 0, "ray-worker-cpu": 0}.items(), topology.last_words()
        told = [json.loads(line) for line in topology.log("controller").read_text().splitlines() if line[:1] == "{"]
        assert [one["state"] for one in told if one["event"] == "left"] == ["done"]
