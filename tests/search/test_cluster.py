"""Training on a cluster of several nodes, with Ray's token authentication, and on files that only the driver has."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.messages import Fidelity, TaskSpec, TrialRequest
from workers import proxy

pytestmark = pytest.mark.slow


@dataclass
class Cluster:
    """A head that lends nothing, and a worker in a home of its own."""

    address: str
    environment: dict[str, str]
    head: subprocess.Popen
    worker: subprocess.Popen
    worker_home: Path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.2)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    token, worker_home, port = folder / "token", folder / "worker", free_port()
    token.write_text("a-token-of-the-tests-0123456789abcdef")
    worker_home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AUTOPEFT", "RAY"))},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "3",
        "OMP_NUM_THREADS": "1",
    }
    # Ray's sockets do not fit into the long paths of pytest's folders.
    ray_folder = Path(f"/tmp/autopeft-test-{port}")
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    lends = ["--num-cpus=0", "--num-gpus=0", "--object-store-memory=100000000", "--include-dashboard=false"]
    head = subprocess.Popen([*start, *lends, f"--temp-dir={ray_folder}"], env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: listens(port), "the head does not start")
    address = f"127.0.0.1:{port}"
    join = [sys.executable, "-m", "autopeft", "worker", "--ray-address", address, "--cpus", "2", "--gpus", "0"]
    home = {"HOME": str(worker_home), "AUTOPEFT_HOME": str(worker_home / "autopeft")}
    worker = subprocess.Popen(join, env=environment | home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    yield Cluster(address, environment, head, worker, worker_home)
    for process in (worker, head):
        process.terminate()
        process.wait(60)
    shutil.rmtree(ray_folder, ignore_errors=True)


def request(key, model, task):
    architecture = Architecture((Placement("lora", "attention.query", 0, 2),))
    fidelity = Fidelity(rows=64, epochs=1, evaluations=1, held_out_rows=32)
    return TrialRequest(
        key=key, model=model, task=TaskSpec(name=task), architecture=architecture.to_dict(), fidelity=fidelity
    )


def drive(cluster, rounds, home, workers=2, alone=False, remove=(), **environment):
    orders = {
        "address": cluster.address,
        "workers": workers,
        "alone": alone,
        "rounds": [[one.model_dump(mode="json") for one in requests] for requests in rounds],
        "remove": list(map(str, remove)),
    }
    return subprocess.run(
        [sys.executable, "-m", "tests.search.driver"],
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        env=cluster.environment | {"HOME": str(home)} | environment,
        timeout=200,
    )


def test_a_node_is_sent_the_model_and_the_task_that_it_lacks(cluster, tiny_model, tiny_task, tmp_path):
    # "~" is the driver's home to the driver, and the node's own, in which there is nothing, to the node.
    model, task = shutil.copytree(tiny_model, tmp_path / "model"), shutil.copy(tiny_task, tmp_path / "rows.csv")
    here = proxy.run(request("here", str(tiny_model), str(tiny_task)))
    first = [request(f"first {i}", "~/model", "~/rows.csv") for i in range(4)]
    after = [request(f"after {i}", "~/model", "~/rows.csv") for i in range(2)]
    done = drive(cluster, [first, after], tmp_path, remove=[model, task])
    told = json.loads(done.stdout)
    assert len(told["reports"]) == 6 and told["slots"] == 2
    assert {report["state"] for report in told["reports"]} == {"complete"}, told["reports"][0]["detail"]
    assert {report["scores"]["holdout"] for report in told["reports"]} == {here.scores["holdout"]}
    kept = {path.name: sorted(os.listdir(path)) for path in shipped(cluster).iterdir() if path.is_dir()}
    assert kept == told["sent"]
    assert ["rows.csv"] in kept.values() and not Path(task).exists()


def shipped(cluster):
    return cluster.worker_home / "autopeft" / "cache" / "shipped"


def test_a_machine_outside_the_cluster_joins_for_as_long_as_it_needs(cluster, tiny_model, tiny_task, tmp_path):
    done = drive(cluster, [[request("one", str(tiny_model), str(tiny_task))]], tmp_path, workers=1, alone=True)
    told = json.loads(done.stdout)
    assert told["joined"]
    assert [report["state"] for report in told["reports"]] == ["complete"]
    assert told["sent"] == {}, "the node has the same files under the same paths"


def test_a_wrong_token_is_refused(cluster, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("another-token-0123456789abcdef0123456789")
    done = drive(cluster, [], tmp_path, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert done.returncode and f"no Ray cluster at {cluster.address}" in done.stderr


def test_the_option_names_the_cluster_that_a_search_trains_on(cluster, tiny_model, tiny_task, tmp_path):
    command = [sys.executable, "-m", "autopeft", "search", "--ray-address", cluster.address, "--json"]
    asked = ["--model", str(tiny_model), "--task", str(tiny_task), "--space", "lora", "--sampler", "random"]
    size = ["--budget", "3", "--confirm", "0", "--no-baselines", "--proxy-rows", "64", "--proxy-epochs", "1"]
    environment = cluster.environment | {"AUTOPEFT_HOME": str(tmp_path)}
    done = subprocess.run([*command, *asked, *size], capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["front"]


def test_a_worker_whose_head_goes_says_so_and_ends(cluster):
    cluster.head.terminate()
    assert cluster.worker.wait(90) == 6
