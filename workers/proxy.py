"""One training run or structure search: a request in, a report out.

The base model and the task stay in the process in between.
"""

from __future__ import annotations

import math
import time
import traceback
from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import save

from autopeft.base_models import describe_model
from autopeft.messages import TrialReport, TrialRequest
from autopeft.modules.attach import Attachment
from workers.activations import Shelf, Trunk, plain
from workers.data import EncodedTask
from workers.devices import device_name, peak_memory, ran_out_of_memory, reset_peak_memory
from workers.evaluation import score_split, time_predictions
from workers.residency import Residency
from workers.structure import search_structure
from workers.training import TrainingStopped, train

_residency: Residency | None = None


def use_threads(threads: int) -> None:
    """Compute on that many CPU threads."""
    torch.set_num_threads(threads)


def run(request: TrialRequest) -> TrialReport:
    """Carry out a request and report on it; a run that fails is a report with a reason, never an exception."""
    global _residency  # one per process: it is what stays
    _residency = _residency or Residency()
    started = time.monotonic()
    try:
        return _run(request, _residency, started)
    except TrainingStopped as stopped:
        reason, detail = stopped.reason, str(stopped)
    except Exception as error:  # a trial's fault is the trial's; the search goes on
        if ran_out_of_memory(error):
            reason, detail = "out_of_memory", str(error)
        else:
            reason, detail = "error", traceback.format_exc()[-1500:]
    return TrialReport.failure(request.key, reason, detail, time.monotonic() - started)


def _run(request: TrialRequest, residency: Residency, started: float) -> TrialReport:
    model, task = residency.model(request), residency.task(request)
    device = residency.device
    reset_peak_memory(device)
    geometry = describe_model(request.model).geometry
    deadline = None if request.wall_limit is None else started + request.wall_limit
    with Attachment(model, request.decoded, geometry, request.seed) as attachment:
        if request.gates is not None:
            found = _search(request, attachment, task, deadline)
        else:
            found = _train(request, attachment, task, deadline, residency.shelf)
        groups = attachment.parameter_groups()
        head = sum(p.numel() for p in groups.pop("head"))
        params = sum(p.numel() for parameters in groups.values() for p in parameters)
    return TrialReport(
        key=request.key,
        params=params,
        head_params=head,
        seconds=time.monotonic() - started,
        peak_memory=peak_memory(device),
        center=task.center,
        scale=task.scale,
        device=device_name(device, residency.dtype(request)),
        **found,
    )


def _train(
    request: TrialRequest, attachment: Attachment, task: EncodedTask, deadline: float | None, shelf: Shelf
) -> dict[str, Any]:
    """Train and score; return what the report says of it."""
    kind, metric = task.data.kind, task.data.metric
    held_out = task.holdout.subset(request.fidelity.held_out_rows)
    rows = task.train.subset(request.fidelity.rows)
    model, metrics = attachment.model, list[dict[str, float]]()
    forward = Trunk(attachment, shelf).forward if request.shortcuts else lambda _: plain(model)

    def evaluate() -> float:
        metrics.append(score_split(model, held_out, kind, forward(held_out)))
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
    went = {"steps": outcome.steps, "curve": tuple(outcome.curve)}
    if outcome.missed:
        ended = {"state": "pruned", "reason": "pruned", "detail": outcome.missed}
        return {**went, **ended, "busy_seconds": outcome.busy_seconds}
    best = next(i for i, (step, _) in enumerate(outcome.curve) if step == outcome.best_step)
    scored = {"holdout": metrics[best]}
    after = time.monotonic()
    for part in request.parts:
        if part != "holdout":
            scored[part] = score_split(model, task.part(part), kind, forward(task.part(part)))
        if not math.isfinite(scored[part][metric]):
            raise TrainingStopped("diverged", f"the {part} score is {scored[part][metric]} at the best step")
    return {
        "scores": {part: values[metric] for part, values in scored.items()},
        "metrics": scored,
        "busy_seconds": outcome.busy_seconds + time.monotonic() - after,
        "state": "complete",
        **went,
        "best_step": outcome.best_step,
        "latency": time_predictions(model, held_out) if request.latency else 0.0,
        "weights": save(attachment.state_dict()) if request.keep_weights else None,
    }


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
        request.chosen_fidelity,
        request.seed,
        request.gates,
        deadline,
    )
    return {"state": "complete", **asdict(found)}
