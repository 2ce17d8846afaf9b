"""Runs requests on Ray actors that keep the base model between trials; one request at a time on each.

Ray holds nothing that is needed: requests and reports live here and in the database, so a lost actor costs one run.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from autopeft.errors import AutopeftError
from autopeft.executors.base import Executor, ExecutorKind, ExecutorOptions
from autopeft.messages import TrialReport, TrialRequest

STARTS = 3  # a run that is lost is started again at most twice
GRACE_SECONDS = 20.0  # beyond a request's own wall limit, before its worker is taken for hung
KNOCK_SECONDS = 5.0
OBJECT_STORE_BYTES = 200 * 1024 * 1024  # reports are small; the default would take a third of the memory


class _Worker:
    """The actor: a process with ``workers.proxy`` in it."""

    def __init__(self, threads: int) -> None:
        # Reached by name, and here: it loads torch in the worker's process, not in the controller's.
        proxy = importlib.import_module("workers.proxy")
        proxy.use_threads(threads)
        self._run = proxy.run

    def run(self, request: str) -> tuple[str, bytes | None]:
        """Carry out a request; both messages travel as JSON, weights beside the report."""
        report: TrialReport = self._run(TrialRequest.model_validate_json(request))
        return report.model_dump_json(), report.weights

    def pid(self) -> int:
        """Return the process id."""
        return os.getpid()


@dataclass
class _Slot:
    """One actor, and what it is doing."""

    actor: Any
    request: TrialRequest | None = None
    future: Any = None
    started: float = 0.0


class RayExecutor:
    """As many slots as workers.

    Args:
        options: number of workers, and the cluster's address; a local Ray is started where there is none.

    Raises:
        AutopeftError: Ray does not start, or does not answer at the address.
    """

    def __init__(self, options: ExecutorOptions) -> None:
        self._started_ray = not ray.is_initialized()
        if self._started_ray:
            _initialise(options)
        self._actor_options = _share(options.workers)
        self._slots = [_Slot(self._new_actor()) for _ in range(options.workers)]
        self._waiting: deque[TrialRequest] = deque()
        self._starts: dict[str, int] = {}

    @property
    def slots(self) -> int:
        """Number of workers."""
        return len(self._slots)

    def submit(self, request: TrialRequest) -> None:
        """Queue a request and hand it to a free worker."""
        self._waiting.append(request)
        self._fill()

    def wait(self, timeout: float) -> list[TrialReport]:
        """Return the reports that are in; a lost or hung worker is replaced and its request started again."""
        until = time.monotonic() + timeout
        while True:
            busy = {slot.future: slot for slot in self._slots if slot.future is not None}
            if not busy:
                return []
            left = max(0.0, min(until - time.monotonic(), 1.0))
            done, _ = ray.wait(list(busy), num_returns=1, timeout=left)
            reports = [r for r in (self._collect(busy[future]) for future in done) if r is not None]
            reports += [r for r in map(self._end_if_hung, self._slots) if r is not None]
            self._fill()
            if reports or time.monotonic() >= until:
                return reports

    def close(self) -> None:
        """Kill the workers, and the local Ray if this executor started it."""
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots.clear()
        self._waiting.clear()
        if self._started_ray:
            ray.shutdown()

    def _fill(self) -> None:
        for slot in self._slots:
            if slot.request is None and self._waiting:
                slot.request = self._waiting.popleft()
                slot.started = time.monotonic()
                self._starts[slot.request.key] = self._starts.get(slot.request.key, 0) + 1
                slot.future = slot.actor.run.remote(slot.request.model_dump_json())

    def _collect(self, slot: _Slot) -> TrialReport | None:
        request = slot.request
        assert request is not None, "a busy slot has a request"
        try:
            report, weights = ray.get(slot.future)
        except RayActorError as error:
            return self._lost(slot, request, str(error))
        except RayError as error:
            self._free(slot, request)
            return TrialReport.failure(request.key, "error", str(error), time.monotonic() - slot.started)
        self._free(slot, request)
        return TrialReport.model_validate_json(report).model_copy(update={"weights": weights})

    def _lost(self, slot: _Slot, request: TrialRequest, detail: str) -> TrialReport | None:
        seconds = time.monotonic() - slot.started
        slot.request, slot.future, slot.actor = None, None, self._new_actor()
        starts = self._starts[request.key]
        if starts < STARTS:
            self._waiting.appendleft(request)
            return None
        del self._starts[request.key]
        lost = f"the worker was lost {starts} times; {detail.strip().splitlines()[0] if detail else ''}"
        return TrialReport.failure(request.key, "worker_lost", lost, seconds)

    def _end_if_hung(self, slot: _Slot) -> TrialReport | None:
        request, seconds = slot.request, time.monotonic() - slot.started
        if request is None or request.wall_limit is None or seconds < request.wall_limit + GRACE_SECONDS:
            return None
        ray.kill(slot.actor)
        slot.actor = self._new_actor()
        self._free(slot, request)
        return TrialReport.failure(request.key, "timeout", f"ended after {seconds:.0f} s without an answer", seconds)

    def _free(self, slot: _Slot, request: TrialRequest) -> None:
        slot.request, slot.future = None, None
        self._starts.pop(request.key, None)

    def _new_actor(self) -> Any:
        options, threads = self._actor_options
        return ray.remote(_Worker).options(max_restarts=0, **options).remote(threads)


def _initialise(options: ExecutorOptions) -> None:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if options.ray_address:
            _knock(options.ray_address)
            ray.init(address=options.ray_address, **common)
        else:
            ray.init(
                num_cpus=os.cpu_count() or 1,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **common,
            )
    except (RayError, OSError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster at {options.ray_address}" if options.ray_address else "Ray does not start here"
        raise AutopeftError(f"{where}: {error}; --executor inline needs none") from error


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at ``host:port``: Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def _share(workers: int) -> tuple[dict[str, Any], int]:
    """Return what each actor asks Ray for, and its threads: an equal share of the GPUs, else of the CPUs."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    threads = max(1, cpus // workers)
    share: dict[str, Any] = {"num_cpus": min(1.0, cpus / workers)}
    if gpus:
        share["num_gpus"] = 1.0 / math.ceil(workers / gpus)
    return share, threads


def _start(options: ExecutorOptions) -> Executor:
    return RayExecutor(options)


EXECUTOR = ExecutorKind(summary="Ray actors on this machine or a cluster, with GPUs where there are any", start=_start)
