"""One whole search by each side of end_to_end.py, in a process of its own, trial by trial with the time of each."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
import transformers
from experience import ship_others
from optuna.samplers import TPESampler
from peers import MODEL, Peer

import autopeft
from autopeft.architecture import Architecture
from autopeft.base_models import describe_model
from autopeft.messages import Fidelity, TaskSpec
from autopeft.modules.plan import normalise
from autopeft.pareto import cost_axis, non_dominated
from autopeft.samplers.memory import Memory
from autopeft.settings import Settings
from autopeft.space import load_space
from autopeft.trial import Trial, is_recorded, open_storage

SPACE = "autopeft"
CORES = 2


@dataclass(frozen=True)
class Job:
    """One search of one side.

    Attributes:
        trials: its budget; AutoPEFT's hand-made architectures are among them, a peer has none.
        confirm: seeds at which a side confirms what it found.
    """

    task: str
    seed: int
    trials: int
    proxy: Fidelity
    full: Fidelity
    confirm: int


def run(side: str, job: Job) -> dict[str, Any]:
    """Return a side's finished trials with their times, in order, and when it was done; JSON values.

    The clock starts before the process does.
    """
    search: Callable[[Job, float], dict[str, Any]] = {"ours": _ours, "peer": _peer}[side]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(search, job, time.time()).result()


def _ours(job: Job, began: float) -> dict[str, Any]:
    """Search and confirm as a person would who sets nothing but what both sides are given."""
    with tempfile.TemporaryDirectory(prefix="end-to-end-") as home:
        os.environ["AUTOPEFT_HOME"] = home  # nothing is known from earlier searches
        ship_others(Path(job.task).name, Path(home))
        search = autopeft.Search(
            model=MODEL,
            task={"name": job.task},
            space=SPACE,
            budget=job.trials,
            seed=job.seed,
            proxy=job.proxy.model_dump(exclude_unset=True),
            full=job.full.model_dump(exclude_unset=True),
            confirm=job.confirm,
            workers=CORES,
        )
        search.run()
        ended = time.time() - began
        storage = open_storage(Settings.from_environment().database_url)
        frozen = optuna.load_study(study_name=search.record.name, storage=storage).trials
    done = [one for one in frozen if is_recorded(one) and one.datetime_complete is not None]
    found = [_row(Trial.from_record(one), one.datetime_complete.timestamp() - began) for one in done]
    return {"trials": sorted(found, key=lambda row: row["at"]), "ended": ended}


def _peer(job: Job, began: float) -> dict[str, Any]:
    """Search with Optuna's TPE and train its front in full; every run loads the model and trains on all cores."""
    torch.set_num_threads(CORES)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    transformers.logging.set_verbosity_error()
    peer, model = Peer(TaskSpec(name=job.task), job.proxy), describe_model(MODEL)
    space = load_space(SPACE, model.geometry, model.parameters)
    study = Memory(space, TPESampler(seed=job.seed))
    found: list[dict[str, Any]] = []
    while len(found) < job.trials:
        choices, asked = study.ask()
        architecture = space.decode(choices)
        if architecture is None:
            study.refuse(asked)
            continue
        score = peer.anew(architecture, job.seed).score
        trial = Trial(
            number=len(found),
            name="",
            architecture=normalise(architecture, model.geometry),
            params=space.params(architecture),
            score=score,
            state="complete",
            reason=None,
            seconds=0.0,
            attempts=1,
        )
        study.tell(asked, trial)
        found.append(_row(trial, time.time() - began))
    full = Peer(peer.task, job.full)
    for index in non_dominated([point(row) for row in found]):
        for seed in range(job.confirm):
            full.anew(Architecture.from_dict(found[index]["architecture"]), seed)
    return {"trials": found, "ended": time.time() - began}


def _row(trial: Trial, at: float) -> dict[str, Any]:
    return {
        "at": at,
        "name": trial.name,
        "params": trial.params,
        "score": trial.score,
        "architecture": trial.architecture.to_dict(),
    }


def point(row: dict[str, Any]) -> tuple[float, float]:
    """Return a row's cost and its own score, as the front of a search sees them."""
    return cost_axis(row["params"]), row["score"]
