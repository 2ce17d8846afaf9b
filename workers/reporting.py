"""What is said of a run: its scores and counts, or the reason that there are none."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from safetensors.torch import save

from autopeft.messages import TrialReport, TrialRequest
from autopeft.modules.weights import Weights
from workers.data import EncodedSplit, EncodedTask
from workers.devices import device_name, peak_memory, ran_out_of_memory
from workers.residency import Residency
from workers.training import Outcome, TrainingStopped


def reported(request: TrialRequest, started: float, work: Callable[[], TrialReport]) -> TrialReport:
    """Return the work's report, or one that says why there is none."""
    try:
        return work()
    except TrainingStopped as stopped:
        reason, detail = stopped.reason, str(stopped)
    except Exception as error:  # a trial's fault is the trial's; the search goes on
        if ran_out_of_memory(error):
            reason, detail = "out_of_memory", str(error)
        else:
            reason, detail = "error", traceback.format_exc()[-1500:]
    return TrialReport.failure(request.key, reason, detail, time.monotonic() - started)


def findings(
    request: TrialRequest,
    weights: Weights,
    task: EncodedTask,
    outcome: Outcome,
    metrics: Sequence[dict[str, float]],
    score: Callable[[EncodedSplit], dict[str, float]],
) -> dict[str, Any]:
    """Return what the report says of a run that came to its end.

    Args:
        request: what was asked for.
        weights: at their best step.
        task: scored parts are its.
        outcome: of the training.
        metrics: of every evaluation.
        score: returns every metric of the weights as they are on a split.
    """
    metric = task.data.metric
    went = {"steps": outcome.steps, "curve": tuple(outcome.curve)}
    if outcome.missed:
        ended = {"state": "pruned", "reason": "pruned", "detail": outcome.missed}
        return {**went, **ended, "busy_seconds": outcome.busy_seconds}
    best = next(i for i, (step, _) in enumerate(outcome.curve) if step == outcome.best_step)
    scored = {"holdout": metrics[best]}
    after = time.monotonic()
    for part in request.parts:
        if part != "holdout":
            scored[part] = score(task.part(part))
        if not math.isfinite(scored[part][metric]):
            raise TrainingStopped("diverged", f"the {part} score is {scored[part][metric]} at the best step")
    return {
        "scores": {part: values[metric] for part, values in scored.items()},
        "metrics": scored,
        "busy_seconds": outcome.busy_seconds + time.monotonic() - after,
        "state": "complete",
        **went,
        "best_step": outcome.best_step,
        "weights": save(weights.state_dict()) if request.keep_weights else None,
    }


def report_on(
    request: TrialRequest, weights: Weights, task: EncodedTask, residency: Residency, found: dict[str, Any]
) -> TrialReport:
    """Return the report of a run of which this was found."""
    groups = weights.parameter_groups()
    head = sum(p.numel() for p in groups.pop("head"))
    return TrialReport(
        key=request.key,
        params=sum(p.numel() for parameters in groups.values() for p in parameters),
        head_params=head,
        peak_memory=peak_memory(residency.device),
        center=task.center,
        scale=task.scale,
        device=device_name(residency.device, residency.dtype(request)),
        **found,
    )
