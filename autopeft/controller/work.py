"""A search at work: what both of its phases know and do."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from autopeft.answer import Answer
from autopeft.controller.clock import Clock
from autopeft.lease import Lease
from autopeft.messages import TrialReport
from autopeft.progress import Listener, Progress
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.stored import evidence_folder, read_answer, to_entry
from autopeft.study import Study
from autopeft.submission import Plan
from autopeft.trial import Trial, open_storage

CANCELLED = "the search was cancelled"
# How long a phase waits for a report before it looks whether it should end.
WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """One controller's work on one search.

    Attributes:
        store: where the search is.
        settings: data folder, database and Ray address.
        lease: on the search.
        plan: of the search.
        study: its trials, and the sampler.
        clock: of its budget.
        draining: whether nothing more is to be started.
        listener: is told of every step, as the search's events are.
        run_seconds: of the runs that this controller has seen end in this phase.
    """

    store: Store
    settings: Settings
    lease: Lease
    plan: Plan
    study: Study
    clock: Clock
    draining: Callable[[], bool]
    listener: Listener
    run_seconds: list[float] = field(default_factory=list)

    @property
    def record(self) -> SearchRecord:
        """The search as it was when the lease was taken."""
        return self.lease.record

    def answer(self) -> Answer:
        """Return the search's answer, as far as it is."""
        return read_answer(self.store, self.record.id, self.study.trials())

    def cancelled(self) -> bool:
        """Return whether somebody has asked for an end."""
        return self.store.cancel_requested(self.record)

    def stopping(self) -> bool:
        """Return whether nothing more may be started."""
        return self.draining() or self.lease.lost or self.cancelled()

    def ended(self) -> str:
        """Return why the runs under way are not waited for; empty while they are."""
        if self.clock.left <= 0:
            return "the wall-time budget ended"
        return CANCELLED if self.cancelled() else ""

    def wall_limit(self) -> float:
        """Return the seconds that a run which begins now may take."""
        return self.clock.limit(self.plan.spec.trial_timeout)

    def tell(self, trial: Trial, report: TrialReport) -> Trial:
        """Tell a trial's report; a baseline is held to no cap, as it is what the others are compared with."""
        over = "" if report.state != "complete" or trial.name else self.plan.over_cap(report)
        if over:
            report = TrialReport.failure(report.key, "over_cap", over, report.seconds)
        told = self.study.tell(trial.number, report, report.scores.get("holdout"))
        self.publish(told)
        return told

    def publish(self, *trials: Trial) -> None:
        """Write trials where the service reads them."""
        self.store.trials.put(self.record.id, self.record.attempt, map(to_entry, trials))

    def report(self, phase: str, running: int, event: str, done: int, total: int | None) -> None:
        """Say how far the search is.

        Args:
            phase: ``search`` or ``confirm``.
            running: runs under way.
            event: what just happened, in a line.
            done: runs finished in this phase.
            total: of them; None where the budget is time.
        """
        answer = self.answer()
        left: float | None = None
        if self.clock.left < math.inf:
            left = max(0.0, self.clock.left)
        elif total is not None and self.run_seconds:
            left = statistics.fmean(self.run_seconds) * max(0, total - done) / self.plan.spec.workers
        progress = Progress(
            phase=phase,
            done=done,
            total=total,
            running=running,
            best=max((row.score for row in answer.front), default=None),
            hypervolume=answer.hypervolume,
            seconds=self.clock.spent,
            seconds_left=left,
            event=event,
        )
        self.store.events.add(self.record.id, "progress", asdict(progress))
        self.listener(progress)


def open_study(plan: Plan, record: SearchRecord, settings: Settings, earlier: Sequence[Trial] = ()) -> Study:
    """Open the study of a search, creating it if the search has none yet; its sampler learns from earlier trials."""
    return Study(
        storage=open_storage(settings.database_url),
        name=record.name,
        sampler=plan.spec.sampler,
        metric=record.facts["metric"],
        setting=replace(plan.setting(evidence_folder(settings, record.id)), earlier=earlier),
    )
