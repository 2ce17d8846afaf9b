"""Runs requests on Ray actors that keep the base model between trials; one request or one pack at a time on each.

Ray holds nothing that is needed: requests and reports live here and in the database, so a lost actor costs its runs.
"""

from __future__ import annotations

import importlib
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from autopeft.errors import AutopeftError
from autopeft.executors.base import Executor, ExecutorKind, ExecutorOptions
from autopeft.executors.cluster import Cluster, least_gpu_bytes, machines
from autopeft.executors.placement import Machine, Place, pack_size, places
from autopeft.executors.shipping import Parcel, Role, find, pack, pieces, readdress, unpack
from autopeft.messages import Reason, TrialReport, TrialRequest
from autopeft.settings import Settings

STARTS = 3  # a run that is lost is started again at most twice
GRACE_SECONDS = 20.0  # beyond a request's own wall limit, before its worker is taken for hung
MACHINE_SECONDS = 60.0  # that a cluster which lends nothing yet is given
# A parcel's content in the object store: references to its pieces, by file.
Content = dict[str, list[Any]]


class _Worker:
    """The actor: a process with ``workers.proxy`` in it."""

    def __init__(self, threads: int) -> None:
        if not ray.get_runtime_context().get_accelerator_ids()["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides no GPU from an actor that asked for none
        # Reached by name, and here: it loads torch in the worker's process, not in the controller's.
        importlib.import_module("workers.proxy").use_threads(threads)
        self._run = importlib.import_module("workers.packs").run_all

    def run(self, requests: Sequence[str]) -> list[tuple[str, bytes | None]]:
        """Carry out requests; messages travel as JSON, weights beside the reports."""
        reports: list[TrialReport] = self._run([TrialRequest.model_validate_json(request) for request in requests])
        return [(report.model_dump_json(), report.weights) for report in reports]

    def receive(
        self, request: str, parcels: Sequence[Parcel], contents: Mapping[str, Content]
    ) -> dict[Role, str | None]:
        """Return where this machine has each parcel of a request, None where its content is still to be sent.

        Args:
            request: that names them.
            parcels: as they were packed.
            contents: what was sent, by the parcel's key.
        """
        asked, kept = TrialRequest.model_validate_json(request), Settings.from_environment().shipped
        return {parcel.role: _have(parcel, asked, contents.get(parcel.key), kept) for parcel in parcels}

    def pid(self) -> int:
        """Return the process id."""
        return os.getpid()


def _have(parcel: Parcel, request: TrialRequest, content: Content | None, kept: Path) -> str | None:
    place = find(parcel, request, kept)
    if place is not None or content is None:
        return place
    return unpack(parcel, {name: map(ray.get, sent) for name, sent in content.items()}, kept)


@dataclass
class _Slot:
    """One actor, and what it is doing.

    Attributes:
        pack: how many requests it carries out at once.
        requests: that it carries out; for one model and task, which are on this machine under the same names.
        met: whether the actor has answered once; before, it may be waiting for room on the cluster.
        arrived: where the actor's machine has the parcels that it was asked about.
        receiving: whether it is asked about parcels now, and the run comes after.
    """

    place: Place
    pack: int
    actor: Any
    requests: Sequence[TrialRequest] = ()
    future: Any = None
    started: float = 0.0
    met: bool = False
    receiving: bool = False
    arrived: dict[Parcel, str] = field(default_factory=dict)


class RayExecutor:
    """As many workers as asked for, or fewer where the cluster's GPUs have no room for more.

    A request that names a folder or file of this machine is carried out where there is no such thing, too: its content
    goes through Ray's object store to machines that lack it, once.

    Args:
        options: number of workers, size of their packs, and the cluster's address; a local Ray is started where there
            is none.

    Raises:
        AutopeftError: Ray does not start, does not answer at the address, or lends nothing.
    """

    def __init__(self, options: ExecutorOptions) -> None:
        self._cluster = Cluster(options.ray_address)
        try:
            self._slots = [_Slot(place, pack, self._new_actor(place)) for place, pack in _places(options)]
        except AutopeftError:
            self._cluster.close()
            raise
        self._waiting: deque[TrialRequest] = deque()
        self._starts: dict[str, int] = {}
        self._parcels: dict[tuple[str, str], tuple[Parcel, ...]] = {}
        self._sent: dict[str, Content] = {}

    @property
    def slots(self) -> int:
        """The requests that all workers together carry out at once."""
        return sum(slot.pack for slot in self._slots)

    @property
    def gpus(self) -> float:
        """Shares of GPUs that the workers asked for, added up."""
        return sum(slot.place.gpus for slot in self._slots)

    def submit(self, request: TrialRequest) -> None:
        """Queue a request; a free worker gets it as soon as there is a whole pack, or no more is to come."""
        self._waiting.append(request)
        self._fill(whole=True)

    def wait(self, timeout: float) -> list[TrialReport]:
        """Return the reports that are in; a lost or hung worker is replaced and its requests started again."""
        until = time.monotonic() + timeout
        self._fill()
        while True:
            busy = {slot.future: slot for slot in self._slots if slot.future is not None}
            if not busy:
                return []
            left = max(0.0, min(until - time.monotonic(), 1.0))
            done, _ = ray.wait(list(busy), num_returns=1, timeout=left)
            reports = [report for future in done for report in self._collect(busy[future])]
            reports += [report for slot in self._slots for report in self._end_if_hung(slot)]
            self._fill()
            if reports or time.monotonic() >= until:
                return reports

    def close(self) -> None:
        """Kill the workers, and the local Ray if this executor started it."""
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots.clear()
        self._waiting.clear()
        self._sent.clear()
        self._cluster.close()

    def _fill(self, whole: bool = False) -> None:
        """Begin what waits on the free workers; with ``whole`` only where it fills a worker's pack."""
        for slot in self._slots:
            if not slot.requests and len(self._waiting) >= (slot.pack if whole else 1):
                slot.requests = self._next_pack(slot.pack)
                for request in slot.requests:
                    self._starts[request.key] = self._starts.get(request.key, 0) + 1
                self._begin(slot)

    def _next_pack(self, most: int) -> list[TrialRequest]:
        """Take the oldest requests that can go to one worker; one that was lost goes alone, as it may be at fault."""
        taken = [self._waiting.popleft()]
        while self._waiting and len(taken) < most and self._go_together(taken[0], self._waiting[0]):
            taken.append(self._waiting.popleft())
        return taken

    def _go_together(self, one: TrialRequest, other: TrialRequest) -> bool:
        lost = one.key in self._starts or other.key in self._starts
        return not lost and (one.model, one.task.name) == (other.model, other.task.name)

    def _begin(self, slot: _Slot) -> None:
        """Start the runs, or first ask the actor what it lacks, which may take it long and is no part of the runs."""
        first = slot.requests[0]
        parcels = self._parcels_of(first)
        asked = [parcel for parcel in parcels if parcel not in slot.arrived]
        slot.started, slot.receiving = time.monotonic(), bool(asked) or not (slot.met or self._cluster.local)
        if slot.receiving:
            sent = {parcel.key: self._sent[parcel.key] for parcel in asked if parcel.key in self._sent}
            slot.future = slot.actor.receive.remote(first.model_dump_json(), asked, sent)
        else:
            places = {parcel.role: slot.arrived[parcel] for parcel in parcels}
            there = [readdress(request, places).model_dump_json() for request in slot.requests]
            slot.future = slot.actor.run.remote(there)

    def _parcels_of(self, request: TrialRequest) -> tuple[Parcel, ...]:
        if self._cluster.local:
            return ()
        names = (request.model, request.task.name)
        if names not in self._parcels:
            self._parcels[names] = pack(request)
        return self._parcels[names]

    def _received(self, slot: _Slot, found: dict[Role, str | None]) -> None:
        """Take in what the actor has; what it lacks is put into the object store, once for all actors."""
        slot.met = True
        for parcel in self._parcels_of(slot.requests[0]):
            place = found.get(parcel.role)
            if place is not None:
                slot.arrived[parcel] = place
            elif parcel.role in found and parcel.key not in self._sent:
                self._sent[parcel.key] = _put(parcel)
        self._begin(slot)

    def _collect(self, slot: _Slot) -> list[TrialReport]:
        try:
            answer = ray.get(slot.future)
            if slot.receiving:
                self._received(slot, answer)
                return []
        except RayActorError as error:
            return self._lost(slot, str(error))
        except (RayError, OSError) as error:
            return self._failed(slot, "error", str(error))
        self._free(slot)
        return [
            TrialReport.model_validate_json(report).model_copy(update={"weights": weights})
            for report, weights in answer
        ]

    def _lost(self, slot: _Slot, detail: str) -> list[TrialReport]:
        seconds, requests, reports = time.monotonic() - slot.started, slot.requests, list[TrialReport]()
        slot.requests, slot.future = (), None
        self._replace(slot)
        for request in reversed(requests):
            starts = self._starts[request.key]
            if starts < STARTS:
                self._waiting.appendleft(request)
                continue
            del self._starts[request.key]
            lost = f"the worker was lost {starts} times; {detail.strip().splitlines()[0] if detail else ''}"
            reports.append(TrialReport.failure(request.key, "worker_lost", lost, seconds))
        return reports

    def _end_if_hung(self, slot: _Slot) -> list[TrialReport]:
        limits = [request.wall_limit for request in slot.requests if request.wall_limit is not None]
        if not limits or len(limits) < len(slot.requests) or slot.receiving:
            return []
        seconds = time.monotonic() - slot.started
        if seconds < max(limits) + GRACE_SECONDS:
            return []
        ray.kill(slot.actor)
        self._replace(slot)
        return self._failed(slot, "timeout", f"ended after {seconds:.0f} s without an answer")

    def _failed(self, slot: _Slot, reason: Reason, detail: str) -> list[TrialReport]:
        """Free the slot and return that its runs failed."""
        seconds, requests = time.monotonic() - slot.started, slot.requests
        self._free(slot)
        return [TrialReport.failure(request.key, reason, detail, seconds) for request in requests]

    def _free(self, slot: _Slot) -> None:
        for request in slot.requests:
            self._starts.pop(request.key, None)
        slot.requests, slot.future = (), None

    def _replace(self, slot: _Slot) -> None:
        slot.actor, slot.met, slot.arrived = self._new_actor(slot.place), False, {}

    def _new_actor(self, place: Place) -> Any:
        asked: dict[str, Any] = {"num_cpus": place.cpus, "num_gpus": place.gpus, "max_restarts": 0}
        if place.machine is not None:
            asked["scheduling_strategy"] = NodeAffinitySchedulingStrategy(place.machine, soft=True)
        return ray.remote(_Worker).options(**asked).remote(place.threads)


def _places(options: ExecutorOptions) -> list[tuple[Place, int]]:
    """Return where the workers go, and how many runs each of them carries out at once.

    Raises:
        AutopeftError: no machine of the cluster lends a CPU or GPU.
    """
    lending, need = _lending(), options.need
    with_gpu = need is not None and any(machine.gpus for machine in lending)
    gpu_bytes = least_gpu_bytes(lending) if with_gpu else None
    if need is None or gpu_bytes is None:
        pack = 1 if options.fit else options.pack
        return [(place, pack) for place in places(lending, options.workers)]
    pack = pack_size(lending, options.workers, options.pack, need, gpu_bytes) if options.fit else options.pack
    placed = places(lending, options.workers, need.of(pack) / gpu_bytes)
    return [(place, 1 if options.fit and not place.gpus else pack) for place in placed]


def _lending() -> list[Machine]:
    until = time.monotonic() + MACHINE_SECONDS
    while not (lending := machines()):
        if time.monotonic() > until:
            raise AutopeftError("no machine of the Ray cluster lends a CPU or GPU; join one with `autopeft worker`")
        time.sleep(1.0)
    return lending


def _put(parcel: Parcel) -> Content:
    """Put a parcel's content into the object store, as arrays, which are read there without a copy."""
    content: Content = {file.name: [] for file in parcel.files}
    for name, piece in pieces(parcel):
        content[name].append(ray.put(np.frombuffer(piece, dtype=np.uint8)))
    return content


def _start(options: ExecutorOptions) -> Executor:
    return RayExecutor(options)


EXECUTOR = ExecutorKind(summary="Ray actors on this machine or a cluster, with GPUs where there are any", start=_start)
