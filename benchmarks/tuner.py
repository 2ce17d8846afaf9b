"""Ray Tune as people run it: OptunaSearch hands out trials, and each is HF Trainer on a model that it loads."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
import ray
import torch
from peers import CPU, Peer
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from autopeft.architecture import Architecture
from autopeft.modules.plan import price
from autopeft.pareto import cost_axis
from workers.devices import peak_memory


@dataclass(frozen=True)
class Tuned:
    """One run of a tuner.

    Attributes:
        seconds: wall time of all trials, from the call to the results.
        busy: of Trainer's training and evaluation alone, in all trials.
        memory: peak of the hungriest trial's process, in bytes; Ray's own processes are not in it.
    """

    seconds: float
    busy: float
    memory: int


@contextmanager
def local_ray() -> Iterator[None]:
    """Start Ray on this machine, for as long as this lasts."""
    ray.init(
        address="local",
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=200 * 1024 * 1024,
        _node_ip_address="127.0.0.1",
    )
    try:
        yield
    finally:
        ray.shutdown()


def run_tuned(peer: Peer, mix: Sequence[tuple[Architecture, int]], threads: int, reuse_actors: bool) -> Tuned:
    """Train architectures, each with its seed, one at a time.

    Args:
        peer: trains them; it is handed to the trials with its rows tokenised.
        mix: what OptunaSearch is told to try, in this order, so that all peers train the same.
        threads: that a trial computes on.
        reuse_actors: whether a process stays for the next trial; its imports stay with it.
    """
    search = OptunaSearch(
        space=partial(_index, len(mix)),
        metric=["cost", "score"],
        mode=["min", "max"],
        points_to_evaluate=[{"index": index} for index in range(len(mix))],
    )
    trainable = tune.with_parameters(_trial, peer=peer, mix=mix, threads=threads)
    config = tune.TuneConfig(
        search_alg=search, num_samples=len(mix), max_concurrent_trials=1, reuse_actors=reuse_actors
    )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # What Tune says of its own accord is not for stdout.
    with tempfile.TemporaryDirectory(prefix="tuner-") as folder, redirect_stdout(sys.stderr):
        began = time.perf_counter()
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            tune_config=config,
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        seconds = time.perf_counter() - began
    assert not results.errors, results.errors[0]
    metrics = [result.metrics or {} for result in results]
    assert sorted(one["index"] for one in metrics) == list(range(len(mix))), "every architecture once"
    return Tuned(seconds, sum(one["busy"] for one in metrics), max(one["memory"] for one in metrics))


def _index(count: int, trial: optuna.Trial) -> dict[str, Any]:
    return {"index": trial.suggest_int("index", 0, count - 1)}


def _trial(config: dict[str, Any], peer: Peer, mix: Sequence[tuple[Architecture, int]], threads: int) -> None:
    torch.set_num_threads(threads)
    architecture, seed = mix[config["index"]]
    fitted = peer.anew(architecture, seed)
    cost = cost_axis(sum(price(placement, peer.geometry) for placement in architecture.placements))
    found = {"cost": cost, "score": fitted.score, "busy": fitted.busy, "memory": peak_memory(CPU)}
    tune.report({**found, "index": config["index"]})
