"""The way into Ray: one that is started here, or a cluster that runs already.

A driver of Ray works through a node of its own machine. Where there is none of the cluster's, a node that lends
nothing is started for it.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private.services import find_node_ids
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from autopeft.errors import AutopeftError, ServiceUnreachable
from autopeft.executors.node import Node, knock
from autopeft.executors.placement import Machine

OBJECT_STORE_BYTES = 200 * 1024 * 1024  # reports are small; the default would take a third of the memory
JOIN_SECONDS = 60.0
PROBE_SECONDS = 60.0
# Marks a node that is a search's own way in, and goes with it.
DRIVER = "autopeft.dev/driver"
_COMMON: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


class Cluster:
    """A connection to Ray for this process.

    Args:
        address: ``host:port`` of a cluster's head, ``auto``, or None, which starts Ray on this machine. A process that
            is connected already stays so.

    Attributes:
        local: whether all of it is known to be on this machine.

    Raises:
        AutopeftError: Ray does not start, or does not answer at the address.
    """

    def __init__(self, address: str | None) -> None:
        self._found = ray.is_initialized()
        self._node: Node | None = None
        self._folder: str | None = None
        self.local = not self._found and address is None
        try:
            with _own_sigterm():
                if self.local:
                    _start_here()
                elif not self._found:
                    self._connect(str(address))
        except ServiceUnreachable as error:
            self.close()
            raise ServiceUnreachable(f"{error}; --executor inline needs none") from error
        except (RayError, OSError, RuntimeError, ValueError, ImportError) as error:
            self.close()
            where = "Ray does not start here" if self.local else f"no Ray cluster at {address}"
            raise AutopeftError(f"{where}: {error}; --executor inline needs none") from error

    def close(self) -> None:
        """Leave the cluster, and end the Ray that was started here; what the process was connected to stays."""
        if not self._found:
            with _own_sigterm():
                ray.shutdown()
        if self._node is not None:
            self._node.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self, address: str) -> None:
        knock(address)
        direct = address == "auto" or "://" in address
        ray.init(address=address, _temp_dir=None if direct else self._way_in(address), **_COMMON)

    def _way_in(self, address: str) -> str:
        """Return the temporary folder of the node to work through: by that Ray tells nodes of one machine apart."""
        nodes = _nodes_here(address)
        lent = [folder for folder, labels in nodes.items() if DRIVER not in labels]
        if lent:
            return lent[0]
        # A short path: Ray's sockets are in it, and a socket's path may have 107 characters.
        self._folder = tempfile.mkdtemp(prefix="autopeft-")
        store, label = f"--object-store-memory={OBJECT_STORE_BYTES}", f"--labels={DRIVER}=yes"
        self._node = Node(address, 0, 0, (f"--temp-dir={self._folder}", store, label), quiet=True)
        until = time.monotonic() + JOIN_SECONDS
        while self._folder not in _nodes_here(address):
            if self._node.ended or time.monotonic() > until:
                raise OSError("this machine cannot join it; `autopeft worker` says why")
            time.sleep(0.2)
        return self._folder


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray would have it end at once when it connects, and when it leaves."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # Where nothing was set Ray's is the better one, which cleans up.
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def machines() -> list[Machine]:
    """Return the nodes that lend anything, those with most GPUs first."""
    found = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        lent = node["Resources"]
        cpus, gpus = int(lent.get("CPU", 0)), int(lent.get("GPU", 0))
        if node["Alive"] and (cpus or gpus):
            found.append(Machine(node["NodeID"], cpus, gpus))
    return sorted(found, key=lambda machine: (-machine.gpus, -machine.cpus, machine.key))


def least_gpu_bytes(among: list[Machine]) -> int | None:
    """Return the memory of the smallest GPU of these machines; None where not all of them tell in time."""
    probe = ray.remote(num_cpus=0)(_gpu_bytes)
    futures = [
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(machine.key, soft=False)).remote()
        for machine in among
        if machine.gpus
    ]
    try:
        return min(ray.get(futures, timeout=PROBE_SECONDS), default=0) or None
    except RayError:
        return None


def _gpu_bytes() -> int:
    # Reached by name, and there: it loads torch in the process that is asked.
    size: int = importlib.import_module("workers.devices").least_gpu_bytes()
    return size


def _start_here() -> None:
    ray.init(
        address="local",  # else a node that this machine lends to some cluster would be taken
        num_cpus=os.cpu_count() or 1,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
        **_COMMON,
    )


def _nodes_here(address: str) -> dict[str, dict[str, str]]:
    """Return the labels of the cluster's nodes on this machine, by their temporary folders."""
    here = find_node_ids()  # type: ignore[no-untyped-call]
    nodes = GcsClient(address=address).get_all_node_info(timeout=JOIN_SECONDS).values()
    alive = [node for node in nodes if node.state == 0 and node.node_id.hex() in here]
    return {node.temp_dir: dict(node.labels) for node in alive}
