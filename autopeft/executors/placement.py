"""Which worker goes where: on GPUs first, on the CPUs of machines without one where the GPUs do not suffice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_ON_A_GPU = 64  # beyond that the share is below what Ray's bookkeeping of fractions is good for


@dataclass(frozen=True)
class Machine:
    """What a node of the cluster lends; ``key`` is Ray's id of it."""

    key: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Place:
    """What one worker asks for.

    Attributes:
        cpus: share of the machine's CPUs to reserve.
        gpus: share of one GPU; 0 keeps the worker off every GPU.
        threads: of its computations on the CPU.
        machine: where it should be, if that is so far free; None leaves it to Ray.
    """

    cpus: float
    gpus: float
    threads: int
    machine: str | None = None


@dataclass(frozen=True)
class GpuNeed:
    """GPU memory in bytes that a worker is expected to stay within.

    Attributes:
        base: whatever it runs.
        run: more for each run that it carries out at once.
    """

    base: int
    run: int

    def of(self, runs: int) -> int:
        """Return the need of so many runs at once."""
        return self.base + runs * self.run

    def fitting(self, memory: float) -> int:
        """Return how many runs at once have room in so many bytes; one at least, which may halve its micro-batch."""
        return max(1, int((memory - self.base) // self.run))


def pack_size(machines: Sequence[Machine], workers: int, most: int, need: GpuNeed, gpu_bytes: int) -> int:
    """Return how many runs at once have room in a worker's equal share of a GPU.

    Args:
        machines: of the cluster; at least one has a GPU.
        workers: how many there are to be.
        most: runs, whatever the memory.
        need: of a worker.
        gpu_bytes: of the smallest GPU.
    """
    return min(most, need.fitting(gpu_bytes * _equal_share(machines, workers)))


def places(machines: Sequence[Machine], workers: int, gpu_share: float | None = None) -> list[Place]:
    """Return a place for each worker; fewer where neither GPUs nor machines without one have room for more.

    On GPUs a worker asks for what it needs, but at least for an equal share: Ray fills one GPU before it takes the
    next, and equal shares spread the workers over all of them.

    Args:
        machines: of the cluster; at least one.
        workers: how many there are to be.
        gpu_share: part of a GPU's memory that a worker needs; None where that is not known.
    """
    with_gpu = [machine for machine in machines if machine.gpus]
    without = [machine for machine in machines if not machine.gpus]
    gpus = sum(machine.gpus for machine in with_gpu)
    if not gpus:
        return _on_cpus(without, workers)
    equal = _equal_share(with_gpu, workers)
    share = min(1.0, max(equal, gpu_share or 0.0, 1 / MOST_ON_A_GPU))
    on_one = math.floor(1 / share + 1e-9)
    fitting = min(workers, gpus * on_one)
    cpus, threads = _cpu_share([(machine.cpus, min(fitting, machine.gpus * on_one)) for machine in with_gpu])
    placed = [Place(cpus, share, threads) for _ in range(fitting)]
    return placed + (_on_cpus(without, workers - fitting) if without and fitting < workers else [])


def _equal_share(machines: Sequence[Machine], workers: int) -> float:
    """Return the share of a GPU that each worker has where all have as much."""
    return 1 / math.ceil(workers / sum(machine.gpus for machine in machines))


def _on_cpus(machines: Sequence[Machine], workers: int) -> list[Place]:
    each = math.ceil(workers / len(machines))
    cpus, threads = _cpu_share([(machine.cpus, each) for machine in machines])
    return [Place(cpus, 0.0, threads, machines[i % len(machines)].key) for i in range(workers)]


def _cpu_share(hosts: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Return what a worker reserves, one CPU at most to leave room for other searches, and its threads.

    Args:
        hosts: each machine's CPUs, and how many workers it may come to hold.
    """
    return min(1.0, *(cpus / held for cpus, held in hosts)), max(1, min(cpus // held for cpus, held in hosts))
