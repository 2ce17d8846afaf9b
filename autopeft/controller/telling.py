"""What a controller says of a run, in a line."""

from __future__ import annotations

from collections.abc import Sequence

from autopeft.errors import AutopeftError, NoFeasibleArchitecture
from autopeft.messages import TrialReport, TrialRequest
from autopeft.trial import Trial


def describe_trial(trial: Trial) -> str:
    """Return a line on a finished trial."""
    what = trial.name or trial.architecture.summary()
    if trial.state == "pruned":
        return f"trial {trial.number}: {what}: {trial.params:,} params, stopped at {trial.share:.0%}: {trial.detail}"
    if trial.score is None:
        return f"trial {trial.number}: {what}: failed ({trial.reason})"
    return f"trial {trial.number}: {what}: {trial.params:,} params, {trial.score:.4f} {_origin(trial)}"


def describe_confirmation(request: TrialRequest, report: TrialReport) -> str:
    """Return a line on a confirmation run."""
    what = f"confirmed {request.decoded.summary()}, seed {request.seed}"
    if report.state == "failed":
        return f"{what}: failed ({report.reason})"
    return f"{what}: {report.scores['validation']:.4f} {_origin(report)}"


def describe_errand(key: str, report: TrialReport) -> str:
    """Return a line on a run that a sampler needed."""
    how = f"failed ({report.reason})" if report.state == "failed" else f"{report.steps} steps"
    return f"{key}: {how} in {report.seconds:.1f} s"


def _origin(run: Trial | TrialReport) -> str:
    return f"known from {run.source}" if run.source else f"in {run.seconds:.1f} s"


def all_failed(trials: Sequence[Trial], last: Trial) -> AutopeftError:
    """Return what there is to say of a search whose first trials all failed."""
    told = last.detail or last.reason
    if all(trial.reason == "over_cap" for trial in trials):
        return NoFeasibleArchitecture(f"the first {len(trials)} runs are all over a cap; the last: {told}")
    return AutopeftError(f"the first {len(trials)} runs all failed; the last: {told}")
