"""A trial by AutoPEFT's workers and by each peer of engine.py, on the same rows."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import transformers
from flops import Least, count
from peers import CPU, MODEL, SETTINGS, Peer, lora
from tuner import run_tuned

from autopeft.architecture import Architecture
from autopeft.messages import Fidelity, Precision, TaskSpec, TrialReport, TrialRequest
from workers import proxy
from workers.devices import peak_memory

SIDES = {
    "ours": "AutoPEFT",
    "b": "(b)",
    "ours_auto": "AutoPEFT, its own choice of type",
    "b_bfloat16": "(b), bfloat16",
    "c": "(c)",
    "c_reused": "(c), actors reused",
}
Mix = Sequence[tuple[Architecture, int]]


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        pairs: of runs, for every lowest layer.
        mix: trials of a real search, in blocks of ``block``.
    """

    rows: int
    epochs: float
    held_out: int
    pairs: int
    mix: int
    block: int


class Bench:
    """A task and every side's way of running a trial on it, in float32 unless the side's name says other."""

    def __init__(self, task: str, size: Size, threads: int) -> None:
        torch.set_num_threads(threads)
        self.threads = threads
        self.fidelity = Fidelity(rows=size.rows, epochs=size.epochs, evaluations=1, held_out_rows=size.held_out)
        self.peer = Peer(TaskSpec(name=task), self.fidelity)
        self.layers = self.peer.geometry.layers

    def train(self, architecture: Architecture, seed: int, precision: Precision = "float32") -> TrialReport:
        """Train as a worker does."""
        request = TrialRequest(
            key="",
            model=MODEL,
            task=self.peer.task,
            architecture=architecture.to_dict(),
            fidelity=self.fidelity,
            training=SETTINGS,
            precision=precision,
            seed=seed,
        )
        report = proxy.run(request)
        assert report.state == "complete", report.detail
        return report

    def ours(self, architecture: Architecture, seed: int, precision: Precision = "float32") -> tuple[float, float]:
        """Return the wall seconds of AutoPEFT's trial, and those outside steps and evaluation."""
        began = time.perf_counter()
        report = self.train(architecture, seed, precision)
        return time.perf_counter() - began, report.seconds - report.busy_seconds

    def block(self, side: str, mix: Mix) -> dict[str, float]:
        """Run architectures by one side; return its wall seconds, those outside, and of (c) the peak of memory."""
        if side in ("ours", "ours_auto"):
            precision: Precision = "auto" if side == "ours_auto" else "float32"
            runs = [self.ours(architecture, seed, precision) for architecture, seed in mix]
            return {"seconds": sum(run[0] for run in runs), "outside": sum(run[1] for run in runs)}
        if side in ("b", "b_bfloat16"):
            fitted = [self.peer.anew(architecture, seed, bf16=side == "b_bfloat16") for architecture, seed in mix]
            seconds = sum(one.seconds for one in fitted)
            return {"seconds": seconds, "outside": seconds - sum(one.busy for one in fitted)}
        tuned = run_tuned(self.peer, mix, self.threads, reuse_actors=side == "c_reused")
        return {"seconds": tuned.seconds, "outside": tuned.seconds - tuned.busy, "memory": tuned.memory}

    def operations(self, lowest: int) -> dict[str, float]:
        """Return what a trial of AutoPEFT and of (a) multiplies over the least, and what padding has of that."""
        architecture = lora(self.layers, lowest)
        report = self.train(architecture, 0)  # hidden states are at hand after it
        least = Least(self.layers, self.peer.geometry.width, lowest, report.head_params)
        floor, padded = least.trial(self.peer.rows, self.peer.held_out, report, SETTINGS.batch_size, seed=0)
        model = self.peer.load()
        ours = count(lambda: self.train(architecture, 0))
        theirs = count(lambda: self.peer.with_peft(model, lowest, 0))
        return {"ours": ours / floor, "padding": padded / floor, "theirs": theirs / floor}


@contextmanager
def resident(task: str, size: Size, threads: int) -> Iterator[Callable[[str, Mix], dict[str, float]]]:
    """Give a side of AutoPEFT a process of its own, where its model and hidden states stay; yield its ``block``.

    A worker holds the model in one type. Two sides in turn in one process would load it anew and fill hidden states
    again at every turn, as no search does.
    """
    with _process(task, size, threads) as process:
        yield lambda side, mix: process.submit(_block, side, mix).result()


def memory(task: str, size: Size, threads: int, side: str, lowest: int) -> int:
    """Return the peak memory of a new process that runs one trial of a side, in bytes."""
    with _process(task, size, threads) as process:
        return process.submit(_peak, side, lowest).result()


_bench: Bench | None = None


def _process(task: str, size: Size, threads: int) -> ProcessPoolExecutor:
    """Return a new process with a bench of its own, for :func:`_here`."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=_begin, initargs=(task, size, threads))


def _begin(task: str, size: Size, threads: int) -> None:
    global _bench
    transformers.logging.set_verbosity_error()
    _bench = Bench(task, size, threads)


def _here() -> Bench:
    assert _bench is not None, "the process has begun"
    return _bench


def _block(side: str, mix: Mix) -> dict[str, float]:
    return _here().block(side, mix)


def _peak(side: str, lowest: int) -> int:
    bench = _here()
    if side == "a":
        bench.peer.with_peft(bench.peer.load(), lowest, 0)
    else:
        bench.block(side, [(lora(bench.layers, lowest), 0)])
    return peak_memory(CPU)
