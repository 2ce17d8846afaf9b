"""The first phase of a search: proxies, each chosen by what the others came to.

A finished run is first stored as an evaluation and then told to the study; a crash in between is made good at the
next start, from the evaluation.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace

from autopeft.architecture import Architecture
from autopeft.controller.shortlist import expected_runs
from autopeft.controller.telling import all_failed, describe_errand, describe_trial
from autopeft.controller.upcoming import Upcoming
from autopeft.controller.work import WAIT_SECONDS, Work
from autopeft.executors import Executor
from autopeft.messages import TrialReport, TrialRequest
from autopeft.samplers.base import WAIT, Errand, Proposal, Wait
from autopeft.trial import Trial

ATTEMPTS = 3
FAILURES_IN_A_ROW = 5
# Of a wall-time budget, confirmation is left at most this share.
MOST_CONFIRMATION = 0.6
Step = Trial | Errand | Wait


class SearchPhase:
    """Trains proxies until the budget ends or there is nothing left to try."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._plan = work.plan
        self._study = work.study
        self._upcoming = Upcoming(self._steps(), self._length, lambda step: step == WAIT)
        self._running: dict[str, Trial | Errand] = {}

    def run(self, executor: Executor) -> None:
        """Go on from wherever the study stands.

        Raises:
            NoFeasibleArchitecture: nothing meets the caps.
            AutopeftError: the first runs all failed.
        """
        self._run_steps(executor)
        if self._work.lease.check():
            for step in self._upcoming.ahead:
                if isinstance(step, Trial):
                    self._study.withdraw(step)

    def recover(self) -> Iterator[tuple[TrialRequest, Trial]]:
        """Settle the trials that a lost controller left running, and yield those to run again."""
        work, study = self._work, self._study
        study.drop_unrecorded()
        work.publish(*study.trials())
        stored = work.store.evaluations(work.record, "proxy")
        for trial in study.trials():
            if trial.state != "running":
                continue
            seed = self._plan.spec.proxy_seed(trial.architecture)
            report = stored.get((trial.architecture.fingerprint, seed))
            if report is None and trial.attempts >= ATTEMPTS:
                detail = f"its controller was lost {trial.attempts} times"
                report = TrialReport.failure("", "controller_lost", detail)
            if report is not None:
                work.tell(trial, report)
                continue
            if not study.restart(trial):
                work.tell(trial, TrialReport.failure("", "controller_lost"))
                continue
            restarted = replace(trial, attempts=trial.attempts + 1)
            work.publish(restarted)
            yield self._proxy_request(restarted), restarted

    def settle_strays(self) -> None:
        """End the trials that another controller started at the very moment when it lost the search to this one."""
        work, study = self._work, self._study
        if not work.lease.check():
            return
        study.drop_unrecorded()
        for trial in study.trials():
            if trial.state == "running":
                detail = "its controller had lost the search when it started it"
                work.tell(trial, TrialReport.failure("", "controller_lost", detail))
        trials = study.trials()
        if len(trials) != work.store.trials.count(work.record.id):  # it has ended one itself, as it knew by then
            work.publish(*trials)

    def _run_steps(self, executor: Executor) -> None:
        work, running = self._work, self._running
        for request, trial in self.recover():
            running[request.key] = trial
            executor.submit(request)
        self._report("")
        more = True
        while True:
            more = more and self._start_more(executor)
            if not running:
                return
            for report in executor.wait(WAIT_SECONDS):
                if (what := running.pop(report.key, None)) is not None:
                    self._report(self._receive(what, report))
            if work.lease.lost:
                return
            if ended := work.ended():
                for key, what in running.items():
                    if isinstance(what, Trial) and work.lease.check():
                        work.tell(what, TrialReport.failure(key, "stopped", ended))
                return

    def _start_more(self, executor: Executor) -> bool:
        """Start runs until the executor is full or nothing may be started; return whether there may be more later."""
        work, running, upcoming = self._work, self._running, self._upcoming
        while len(running) < executor.slots and (left := self._left()):
            if left <= executor.slots:
                upcoming.prepare_end(int(left))
            step = upcoming.take()
            if step is None:
                return False
            if step == WAIT:
                return bool(running)
            assert not isinstance(step, str)
            if isinstance(step, Trial):
                if not work.lease.check():  # whoever has the search now does not know of this one
                    self._study.tell(step.number, TrialReport.failure("", "controller_lost"), None)
                    return False
                work.publish(step)
            request = self._proxy_request(step) if isinstance(step, Trial) else self._errand_request(step)
            running[request.key] = step
            executor.submit(request)
        if executor.gpus and work.run_seconds and self._left():
            upcoming.prepare_next(statistics.fmean(work.run_seconds))
        return True

    def _steps(self) -> Iterator[Step]:
        """Yield what is to be started: the baselines that are not there yet, then what the sampler proposes."""
        plan, study = self._plan, self._study
        if plan.spec.baselines:
            there = {trial.name for trial in study.trials()}
            for name, (architecture, params) in plan.baselines.items():
                if name not in there:
                    yield study.start_given(architecture, params, plan.base_parameters, name)
        for document in self._work.record.facts.get("first", ()):
            admitted = plan.admit(Architecture.from_dict(document))
            known = {trial.architecture.fingerprint for trial in study.trials()}
            if admitted is not None and admitted[0].fingerprint not in known:
                yield study.start_given(*admitted, plan.base_parameters)
        while (step := study.propose()) is not None:
            yield study.start(step, plan.base_parameters) if isinstance(step, Proposal) else step

    def _length(self, step: Step) -> float:
        """Return how long a step's run takes beside others: by the layers that it trains through, then by its size."""
        if not isinstance(step, Trial):
            return math.inf
        layers = self._plan.model.geometry.layers
        lowest = min(step.architecture.layers, default=layers)
        return layers - lowest + step.params / self._plan.base_parameters

    def _left(self) -> float:
        """Return how many more steps may be started: what the budget allows, without end while it has time."""
        work, budget = self._work, self._plan.budget
        if work.stopping() or not work.lease.check():
            return 0
        if budget.trials is not None:
            begun = len(self._study.trials()) - sum(isinstance(step, Trial) for step in self._upcoming.ahead)
            errands = sum(isinstance(what, Errand) for what in self._running.values())
            return max(0, budget.trials - begun - errands)
        return math.inf if work.clock.left > self._confirmation_seconds() else 0

    def _confirmation_seconds(self) -> float:
        """Estimate how long confirming the front as it stands would take."""
        work, plan, spec = self._work, self._plan, self._plan.spec
        if not work.run_seconds or spec.confirm == 0:
            return 0.0
        rows = work.record.facts["rows"]["train"]
        proxy, full = spec.proxy, spec.full
        share = min(full.rows or rows, rows) * full.epochs / (min(proxy.rows or rows, rows) * proxy.epochs)
        whole = [trial.seconds for trial in self._study.trials() if trial.state == "complete"]
        each = float(share) * sum(whole) / max(1, len(whole))
        runs = expected_runs(self._study.trials(), spec.confirm, spec.runners_up, plan.objectives)
        return min(MOST_CONFIRMATION * work.clock.budget, each * runs / spec.workers)

    def _proxy_request(self, trial: Trial) -> TrialRequest:
        plan = self._plan
        key = f"trial {trial.number}.{trial.attempts}"
        request = plan.proxy_request(key, trial.architecture)
        # A baseline is trained to its end: it is what the others are measured against.
        bars = () if trial.name else plan.policy.bars(trial.params, request.chosen_fidelity, self._study.trials())
        return request.model_copy(update={"wall_limit": self._work.wall_limit(), "bars": bars})

    def _errand_request(self, errand: Errand) -> TrialRequest:
        # Over the rows of full training; how long, the gates' own settings say.
        plan = self._plan
        request = plan.request(errand.key, plan.stored(errand.architecture), plan.spec.full, plan.spec.seed)
        return request.model_copy(update={"wall_limit": self._work.wall_limit(), "gates": errand.gates})

    def _receive(self, what: Trial | Errand, report: TrialReport) -> str:
        """Take a report in, and return what to say of it."""
        if isinstance(what, Trial):
            return describe_trial(self._finish(what, report))
        what.receive(report)
        return describe_errand(what.key, report)

    def _finish(self, trial: Trial, report: TrialReport) -> Trial:
        work, spec = self._work, self._plan.spec
        work.run_seconds.append(report.seconds)
        seed = spec.proxy_seed(trial.architecture)
        work.store.add_evaluation(work.record, "proxy", trial.architecture, spec.proxy, seed, report)
        if not work.lease.check():
            return trial
        told = work.tell(trial, report)
        finished = self._finished()
        if len(finished) == FAILURES_IN_A_ROW and all(one.state == "failed" for one in finished):
            raise all_failed(finished, told)
        return told

    def _finished(self) -> list[Trial]:
        return [trial for trial in self._study.trials() if trial.state != "running"]

    def _report(self, event: str) -> None:
        done, total = len(self._finished()), self._plan.budget.trials
        self._work.report("search", len(self._running), event, done, total)
