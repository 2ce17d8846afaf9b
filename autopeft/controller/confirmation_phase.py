"""The second phase of a search: what it found, trained in full over several seeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from autopeft.controller.shortlist import candidates, expected_runs, missing
from autopeft.controller.telling import describe_confirmation
from autopeft.controller.work import WAIT_SECONDS, Work
from autopeft.executors import Executor
from autopeft.messages import TrialReport, TrialRequest
from autopeft.storage import write_atomically
from autopeft.stored import weights_path
from autopeft.trial import Trial

WEIGHTS_SEED = 0


class ConfirmationPhase:
    """Trains the shortlist in full, until everything on the front of the means has all its seeds."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._plan = work.plan

    def run(self, executor: Executor) -> None:
        """Go on from what the store holds."""
        work, spec, objectives = self._work, self._plan.spec, self._plan.objectives
        chosen = candidates(work.study.trials(), spec.runners_up, objectives)
        chosen.sort(key=lambda trial: -trial.seconds)  # the longest first, so that workers end together
        expected = expected_runs(chosen, spec.confirm, spec.runners_up, objectives)
        asked: set[str] = set()  # what fails is tried again by the next resume, and not before
        running: dict[str, TrialRequest] = {}
        work.run_seconds.clear()
        found = work.store.evaluations(work.record, "confirmation")
        before = sum(report.state == "complete" for report in found.values())
        while True:
            free = 0 if work.stopping() else executor.slots - len(running)
            for request in self._unconfirmed(chosen, asked)[:free] if free else ():
                asked.add(request.key)
                running[request.key] = request
                executor.submit(request)
            if not running:
                return
            for report in executor.wait(WAIT_SECONDS):
                if (ended := running.pop(report.key, None)) is not None:
                    self._keep(ended, report)
                    done = before + len(asked) - len(running)
                    total = max(expected, before + len(asked))
                    work.report("confirm", len(running), describe_confirmation(ended, report), done, total)
            if work.ended() or work.lease.lost:
                return

    def _unconfirmed(self, chosen: Sequence[Trial], asked: Collection[str]) -> list[TrialRequest]:
        """Return what is to be run as things stand, without what was asked for."""
        limit = {"wall_limit": self._work.wall_limit()}
        wanted = [self._request(*run) for run in missing(chosen, self._work.answer(), self._plan.spec.confirm)]
        return [request.model_copy(update=limit) for request in wanted if request.key not in asked]

    def _request(self, trial: Trial, seed: int) -> TrialRequest:
        key = f"confirm {trial.architecture.fingerprint}.{seed}"
        extra = {"parts": ("validation",), "keep_weights": seed == WEIGHTS_SEED}
        return self._plan.request(key, trial.architecture, self._plan.spec.full, seed).model_copy(update=extra)

    def _keep(self, request: TrialRequest, report: TrialReport) -> None:
        work, spec = self._work, self._plan.spec
        if report.reason == "timeout" and (request.wall_limit or 0.0) < spec.trial_timeout:
            return  # cut by the end of the budget, which says nothing of the run
        work.run_seconds.append(report.seconds)
        if report.weights is not None:
            path = weights_path(work.settings, work.record.id, request.decoded.fingerprint)
            write_atomically(path, report.weights)
        work.store.add_evaluation(work.record, "confirmation", request.decoded, spec.full, request.seed, report)
