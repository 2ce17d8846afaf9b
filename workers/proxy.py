"""One training run or structure search: a request in, a report out.

The base model and the task stay in the process in between.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from autopeft.base_models import describe_model
from autopeft.messages import TrialReport, TrialRequest
from autopeft.modules.attach import Attachment
from workers.activations import Trunk, plain
from workers.data import EncodedSplit, EncodedTask
from workers.devices import reset_peak_memory
from workers.evaluation import score_split, time_predictions
from workers.reporting import findings, report_on, reported
from workers.residency import Residency
from workers.shelf import Shelf
from workers.structure import search_structure
from workers.training import train

_residency: Residency | None = None


def use_threads(threads: int) -> None:
    """Compute on that many CPU threads."""
    torch.set_num_threads(threads)


def run(request: TrialRequest) -> TrialReport:
    """Carry out a request and report on it; a run that fails is a report with a reason, never an exception."""
    started = time.monotonic()
    return reported(request, started, lambda: _run(request, resident(), started))


def resident() -> Residency:
    """Return what stays in this process between runs."""
    global _residency
    _residency = _residency or Residency()
    return _residency


def _run(request: TrialRequest, residency: Residency, started: float) -> TrialReport:
    model, task = residency.model(request), residency.task(request)
    reset_peak_memory(residency.device)
    geometry = describe_model(request.model).geometry
    deadline = None if request.wall_limit is None else started + request.wall_limit
    with Attachment(model, request.decoded, geometry, request.seed) as attachment:
        if request.gates is not None:
            found = _search(request, attachment, task, deadline)
        else:
            found = _train(request, attachment, task, deadline, residency.shelf)
        return report_on(request, attachment, task, residency, {**found, "seconds": time.monotonic() - started})


def _train(
    request: TrialRequest, attachment: Attachment, task: EncodedTask, deadline: float | None, shelf: Shelf
) -> dict[str, Any]:
    """Train and score; return what the report says of it."""
    kind, metric = task.data.kind, task.data.metric
    held_out = task.holdout.subset(request.fidelity.held_out_rows)
    rows = task.train.subset(request.fidelity.rows)
    model, metrics = attachment.model, list[dict[str, float]]()
    forward = Trunk(attachment, shelf).forward if request.shortcuts else lambda _: plain(model)

    def score(split: EncodedSplit) -> dict[str, float]:
        return score_split(model, split, kind, forward(split))

    def evaluate() -> float:
        metrics.append(score(held_out))
        return metrics[-1][metric]

    settings, fidelity = request.chosen_training, request.chosen_fidelity
    outcome = train(
        attachment,
        rows,
        kind,
        settings,
        fidelity,
        request.seed,
        evaluate,
        deadline,
        request.bars,
        forward(rows),
    )
    found = findings(request, attachment, task, outcome, metrics, score)
    if request.latency and not outcome.missed:
        found["latency"] = time_predictions(model, held_out)
    return found


def _search(
    request: TrialRequest, attachment: Attachment, task: EncodedTask, deadline: float | None
) -> dict[str, Any]:
    """Train gates with the weights; return what the report says of it."""
    assert request.gates is not None
    rows = task.train.subset(request.fidelity.rows)
    found = search_structure(
        attachment,
        rows,
        task.data.kind,
        request.chosen_training,
        request.seed,
        request.gates,
        deadline,
    )
    return {"state": "complete", **asdict(found)}
