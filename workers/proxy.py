"""One training run: a request in, a report out. The base model and the task stay in the process in between."""

from __future__ import annotations

import math
import time
import traceback

import torch
from safetensors.torch import save

from autopeft.base_models import describe_model
from autopeft.messages import TrialReport, TrialRequest
from autopeft.modules.attach import Attachment
from workers.devices import device_name, peak_memory, ran_out_of_memory
from workers.evaluation import score_split
from workers.residency import Residency
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
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    geometry = describe_model(request.model).geometry
    kind, metric = task.data.kind, task.data.metric
    held_out = task.holdout.subset(request.fidelity.held_out_rows)
    rows = task.train.subset(request.fidelity.rows)
    deadline = None if request.wall_limit is None else started + request.wall_limit
    metrics: dict[int, dict[str, float]] = {}

    with Attachment(model, request.decoded, geometry, request.seed) as attachment:

        def evaluate() -> float:
            metrics[len(metrics)] = score_split(model, held_out, kind)
            return metrics[len(metrics) - 1][metric]

        outcome = train(attachment, rows, kind, request.training, request.fidelity, request.seed, evaluate, deadline)
        best = next(i for i, (step, _) in enumerate(outcome.curve) if step == outcome.best_step)
        scored = {"holdout": metrics[best]}
        after = time.monotonic()
        for part in request.parts:
            if part != "holdout":
                scored[part] = score_split(model, task.part(part), kind)
            if not math.isfinite(scored[part][metric]):
                raise TrainingStopped("diverged", f"the {part} score is {scored[part][metric]} at the best step")
        outcome.busy_seconds += time.monotonic() - after
        groups = attachment.parameter_groups()
        head = sum(p.numel() for p in groups.pop("head"))
        weights = save(attachment.state_dict()) if request.keep_weights else None
        params = sum(p.numel() for parameters in groups.values() for p in parameters)
    return TrialReport(
        key=request.key,
        state="complete",
        scores={part: values[metric] for part, values in scored.items()},
        metrics=scored,
        params=params,
        head_params=head,
        seconds=time.monotonic() - started,
        busy_seconds=outcome.busy_seconds,
        peak_memory=peak_memory(device),
        best_step=outcome.best_step,
        steps=outcome.steps,
        curve=tuple(outcome.curve),
        center=task.center,
        scale=task.scale,
        device=device_name(device, residency.dtype(request)),
        weights=weights,
    )
