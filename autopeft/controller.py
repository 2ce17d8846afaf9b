"""The controller: takes a search from wherever it stands to its answer.

Everything it knows is in the database before it goes on, so it can be killed at any moment and another one resumes.
A finished run is first stored as an evaluation and then told to the study; a crash in between is made good at the
next start, from the evaluation.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError

from autopeft.answer import Answer
from autopeft.architecture import Architecture
from autopeft.budget import Budget
from autopeft.clock import Clock
from autopeft.confirmation import candidates, expected_runs, missing
from autopeft.errors import AutopeftError, InvalidInput, NoFeasibleArchitecture, Problem, ServiceUnreachable
from autopeft.executors import EXECUTORS, Executor, ExecutorOptions
from autopeft.executors.memory import gpu_need
from autopeft.executors.recall import RecallingExecutor
from autopeft.known_runs import KnownRuns
from autopeft.lease import Lease
from autopeft.messages import SearchState, TrialReport, TrialRequest
from autopeft.progress import Listener, Progress
from autopeft.samplers.base import WAIT, Errand, Proposal, Wait
from autopeft.settings import Settings
from autopeft.storage import write_atomically
from autopeft.store import SearchRecord, Store
from autopeft.stored import evidence_folder, read_answer, to_entry, weights_path
from autopeft.study import Study
from autopeft.submission import Plan, make_plan
from autopeft.telling import all_failed, describe_confirmation, describe_errand, describe_trial
from autopeft.trial import Trial, open_storage
from autopeft.upcoming import Upcoming

ATTEMPTS = 3
WAIT_SECONDS = 0.5
FAILURES_IN_A_ROW = 5
WEIGHTS_SEED = 0
CANCELLED = "the search was cancelled"
# Of a wall-time budget, confirmation is left at most this share.
MOST_CONFIRMATION = 0.6
# A search whose cluster does not answer lets others go before it for so long.
PAUSE_SECONDS = 15.0
# Packs that are sized by memory: at most so many runs, and all workers' at most such a part of a budget of trials, so
# that most of them are chosen by what others came to.
MOST_PACKED, PART_AT_ONCE = 16, 8
Step = Trial | Errand | Wait


class Controller:
    """Works on one search while it holds its lease.

    Args:
        store: where the search is.
        lease: on the search; it is given back at the end of :meth:`run`.
        settings: data folder, database and Ray address.
        listener: is told of every step, as the search's events are.
    """

    def __init__(self, store: Store, lease: Lease, settings: Settings, listener: Listener = lambda _: None) -> None:
        self._store = store
        self._settings = settings
        self._listener = listener
        self._lease = lease
        self.record: SearchRecord = lease.record
        self._known = KnownRuns(store, lease.record, settings)
        self._clock = Clock(lease.record.seconds)
        self._draining = False
        self._run_seconds: list[float] = []

    def drain(self) -> None:
        """Start nothing more; :meth:`run` returns when the runs under way are finished."""
        self._draining = True

    def run(self) -> Answer:
        """Work until the search is done, drained or cancelled, and return its answer.

        Raises:
            NoFeasibleArchitecture: nothing meets the caps.
            ServiceUnreachable: the cluster does not answer; the search is left as one that was interrupted.
            AutopeftError: the first runs all failed, or the executor does not start.
        """
        with ExitStack() as closing:
            self._run(closing)
            return read_answer(self._store, self.record.id, self._study.trials())

    def _run(self, closing: ExitStack) -> None:
        state: SearchState = "interrupted"
        detail, infeasible, pause = "", False, 0.0
        try:
            facts = self.record.facts
            plan = replace(make_plan(self.record.spec), model_hash=facts["model_hash"], task_hash=facts["task_hash"])
            earlier = [] if plan.spec.warm_start == "none" else self._known.of_others(plan.spec.proxy)
            self._study = open_study(plan, self.record, self._settings, earlier)
            closing.callback(self._study.close)
            state = self._work(plan)
        except (DBAPIError, StorageInternalError):
            raise  # whoever takes the search next goes on where the database was last
        except ServiceUnreachable as error:
            detail, pause = str(error), PAUSE_SECONDS
            raise
        except Exception as error:
            state, infeasible = "failed", isinstance(error, NoFeasibleArchitecture)
            detail = str(error) if isinstance(error, AutopeftError) else f"a fault of autopeft: {error!r}"
            raise
        finally:
            self._lease.stop()
            self._store.release(self.record, state, self._lease.uncounted, detail, infeasible, pause)

    def _work(self, plan: Plan) -> SearchState:
        if self._store.cancel_requested(self.record):
            return self._settle_cancelled(plan)
        self._store.set_state(self.record, "running")
        spec = plan.spec
        trains = EXECUTORS.get(spec.executor).start(_executor_options(plan, self._settings))
        executor: Executor = trains if spec.warm_start == "none" else RecallingExecutor(trains, self._known.find)
        try:
            self._clock.budget = _wall_time(plan.budget, spec.budget, executor)
            self._search(plan, executor)
            self._settle_strays(plan)
            if spec.confirm and not self._stopping() and not self._ended(plan):
                self._confirm(plan, executor)
        finally:
            executor.close()
        if self._store.cancel_requested(self.record):
            return "cancelled"
        return "interrupted" if self._stopping() else "done"

    def _settle_cancelled(self, plan: Plan) -> SearchState:
        """End what a lost controller left running of a search that was cancelled before it was lost."""
        for _, trial in self._recover(plan):
            self._tell(trial, TrialReport.failure("", "stopped", CANCELLED), plan)
        return "cancelled"

    def _settle_strays(self, plan: Plan) -> None:
        """End the trials that another controller started at the very moment when it lost the search to this one."""
        if not self._lease.check():
            return
        self._study.drop_unrecorded()
        for trial in self._study.trials():
            if trial.state == "running":
                detail = "its controller had lost the search when it started it"
                self._tell(trial, TrialReport.failure("", "controller_lost", detail), plan)
        trials = self._study.trials()
        if len(trials) != self._store.trials.count(self.record.id):  # it has ended one itself, as it knew by then
            self._publish(*trials)

    # -- the search phase ---------------------------------------------------------------------------------------------

    def _search(self, plan: Plan, executor: Executor) -> None:
        upcoming = Upcoming(self._steps(plan), partial(_length, plan), lambda step: step == WAIT)
        self._run_steps(plan, executor, upcoming)
        if self._lease.check():
            for step in upcoming.ahead:
                if isinstance(step, Trial):
                    self._study.withdraw(step)

    def _run_steps(self, plan: Plan, executor: Executor, upcoming: Upcoming[Step]) -> None:
        running: dict[str, Trial | Errand] = {}
        for request, trial in self._recover(plan):
            running[request.key] = trial
            executor.submit(request)
        self._report("search", plan, len(running), "")
        more = True
        while True:
            more = more and self._start_more(plan, executor, upcoming, running)
            if not running:
                return
            for report in executor.wait(WAIT_SECONDS):
                if (what := running.pop(report.key, None)) is not None:
                    event = self._receive(what, report, plan)
                    self._report("search", plan, len(running), event)
            if self._lease.lost:
                return
            if ended := self._ended(plan):
                for key, what in running.items():
                    if isinstance(what, Trial) and self._lease.check():
                        self._tell(what, TrialReport.failure(key, "stopped", ended), plan)
                return

    def _start_more(
        self, plan: Plan, executor: Executor, upcoming: Upcoming[Step], running: dict[str, Trial | Errand]
    ) -> bool:
        """Start runs until the executor is full or nothing may be started; return whether there may be more later."""
        while len(running) < executor.slots and (left := self._left(plan, running, upcoming)):
            if left <= executor.slots:
                upcoming.prepare_end(int(left))
            step = upcoming.take()
            if step is None:
                return False
            if step == WAIT:
                return bool(running)
            assert not isinstance(step, str)
            if isinstance(step, Trial):
                if not self._lease.check():  # whoever has the search now does not know of this one
                    self._study.tell(step.number, TrialReport.failure("", "controller_lost"), None)
                    return False
                self._publish(step)
            request = self._proxy_request(plan, step) if isinstance(step, Trial) else self._errand_request(plan, step)
            running[request.key] = step
            executor.submit(request)
        if executor.gpus and self._run_seconds and self._left(plan, running, upcoming):
            upcoming.prepare_next(statistics.fmean(self._run_seconds))
        return True

    def _steps(self, plan: Plan) -> Iterator[Step]:
        """Yield what is to be started: the baselines that are not there yet, then what the sampler proposes."""
        if plan.spec.baselines:
            there = {trial.name for trial in self._study.trials()}
            for name, (architecture, params) in plan.baselines.items():
                if name not in there:
                    yield self._study.start_given(architecture, params, plan.base_parameters, name)
        for document in self.record.facts.get("first", ()):
            admitted = plan.admit(Architecture.from_dict(document))
            known = {trial.architecture.fingerprint for trial in self._study.trials()}
            if admitted is not None and admitted[0].fingerprint not in known:
                yield self._study.start_given(*admitted, plan.base_parameters)
        while (step := self._study.propose()) is not None:
            yield self._study.start(step, plan.base_parameters) if isinstance(step, Proposal) else step

    def _receive(self, what: Trial | Errand, report: TrialReport, plan: Plan) -> str:
        """Take a report in, and return what to say of it."""
        if isinstance(what, Trial):
            return describe_trial(self._finish(what, report, plan))
        what.receive(report)
        return describe_errand(what.key, report)

    def _recover(self, plan: Plan) -> Iterator[tuple[TrialRequest, Trial]]:
        """Settle the trials that a lost controller left running, and yield those to run again."""
        self._study.drop_unrecorded()
        self._publish(*self._study.trials())
        stored = self._store.evaluations(self.record, "proxy")
        for trial in self._study.trials():
            if trial.state != "running":
                continue
            report = stored.get((trial.architecture.fingerprint, plan.spec.seed))
            if report is None and trial.attempts >= ATTEMPTS:
                detail = f"its controller was lost {trial.attempts} times"
                report = TrialReport.failure("", "controller_lost", detail)
            if report is not None:
                self._tell(trial, report, plan)
                continue
            if not self._study.restart(trial):
                self._tell(trial, TrialReport.failure("", "controller_lost"), plan)
                continue
            restarted = replace(trial, attempts=trial.attempts + 1)
            self._publish(restarted)
            yield self._proxy_request(plan, restarted), restarted

    def _proxy_request(self, plan: Plan, trial: Trial) -> TrialRequest:
        key = f"trial {trial.number}.{trial.attempts}"
        request = plan.request(key, trial.architecture, plan.spec.proxy, plan.spec.seed)
        # A baseline is trained to its end: it is what the others are measured against.
        bars = () if trial.name else plan.policy.bars(trial.params, request.chosen_fidelity, self._study.trials())
        return request.model_copy(update={"wall_limit": self._clock.limit(plan.spec.trial_timeout), "bars": bars})

    def _errand_request(self, plan: Plan, errand: Errand) -> TrialRequest:
        # Over the rows of full training; how long, the gates' own settings say.
        request = plan.request(errand.key, plan.stored(errand.architecture), plan.spec.full, plan.spec.seed)
        return request.model_copy(
            update={"wall_limit": self._clock.limit(plan.spec.trial_timeout), "gates": errand.gates}
        )

    def _finish(self, trial: Trial, report: TrialReport, plan: Plan) -> Trial:
        self._run_seconds.append(report.seconds)
        self._store.add_evaluation(self.record, "proxy", trial.architecture, plan.spec.proxy, plan.spec.seed, report)
        if not self._lease.check():
            return trial
        told = self._tell(trial, report, plan)
        finished = [t for t in self._study.trials() if t.state != "running"]
        if len(finished) == FAILURES_IN_A_ROW and all(t.state == "failed" for t in finished):
            raise all_failed(finished, told)
        return told

    def _tell(self, trial: Trial, report: TrialReport, plan: Plan) -> Trial:
        """Tell a trial's report; a baseline is held to no cap, as it is what the others are compared with."""
        over = "" if report.state != "complete" or trial.name else plan.over_cap(report)
        if over:
            report = TrialReport.failure(report.key, "over_cap", over, report.seconds)
        told = self._study.tell(trial.number, report, report.scores.get("holdout"))
        self._publish(told)
        return told

    def _publish(self, *trials: Trial) -> None:
        """Write trials where the service reads them."""
        self._store.trials.put(self.record.id, self.record.attempt, map(to_entry, trials))

    def _left(self, plan: Plan, running: Mapping[str, Trial | Errand], upcoming: Upcoming[Step]) -> float:
        """Return how many more steps may be started: what the budget allows, without end while it has time."""
        if self._stopping() or not self._lease.check():
            return 0
        if plan.budget.trials is not None:
            begun = len(self._study.trials()) - sum(isinstance(step, Trial) for step in upcoming.ahead)
            errands = sum(isinstance(what, Errand) for what in running.values())
            return max(0, plan.budget.trials - begun - errands)
        return math.inf if self._clock.left > self._confirmation_seconds(plan) else 0

    def _finished(self) -> list[Trial]:
        return [trial for trial in self._study.trials() if trial.state != "running"]

    # -- the confirmation phase ---------------------------------------------------------------------------------------

    def _confirm(self, plan: Plan, executor: Executor) -> None:
        spec, objectives = plan.spec, plan.objectives
        chosen = candidates(self._study.trials(), spec.runners_up, objectives)
        chosen.sort(key=lambda trial: -trial.seconds)  # the longest first, so that workers end together
        expected = expected_runs(chosen, spec.confirm, spec.runners_up, objectives)
        asked: set[str] = set()  # what fails is tried again by the next resume, and not before
        running: dict[str, TrialRequest] = {}
        self._run_seconds.clear()
        found = self._store.evaluations(self.record, "confirmation")
        before = sum(report.state == "complete" for report in found.values())
        while True:
            free = 0 if self._stopping() else executor.slots - len(running)
            for request in self._unconfirmed(plan, chosen, asked)[:free] if free else ():
                asked.add(request.key)
                running[request.key] = request
                executor.submit(request)
            if not running:
                return
            for report in executor.wait(WAIT_SECONDS):
                if (ended := running.pop(report.key, None)) is not None:
                    self._keep_confirmation(plan, ended, report)
                    done = before + len(asked) - len(running)
                    total = max(expected, before + len(asked))
                    self._report("confirm", plan, len(running), describe_confirmation(ended, report), done, total)
            if self._ended(plan) or self._lease.lost:
                return

    def _unconfirmed(self, plan: Plan, chosen: Sequence[Trial], asked: Collection[str]) -> list[TrialRequest]:
        """Return what is to be run as things stand, without what was asked for."""
        answer = read_answer(self._store, self.record.id, self._study.trials())
        limit = {"wall_limit": self._clock.limit(plan.spec.trial_timeout)}
        wanted = [_confirmation_request(plan, *run) for run in missing(chosen, answer, plan.spec.confirm)]
        return [request.model_copy(update=limit) for request in wanted if request.key not in asked]

    def _keep_confirmation(self, plan: Plan, request: TrialRequest, report: TrialReport) -> None:
        if report.reason == "timeout" and (request.wall_limit or 0.0) < plan.spec.trial_timeout:
            return  # cut by the end of the budget, which says nothing of the run
        self._run_seconds.append(report.seconds)
        if report.weights is not None:
            path = weights_path(self._settings, self.record.id, request.decoded.fingerprint)
            write_atomically(path, report.weights)
        self._store.add_evaluation(self.record, "confirmation", request.decoded, plan.spec.full, request.seed, report)

    def _confirmation_seconds(self, plan: Plan) -> float:
        """Estimate how long confirming the front as it stands would take."""
        if not self._run_seconds or plan.spec.confirm == 0 or plan.budget.trials is not None:
            return 0.0
        rows = self.record.facts["rows"]["train"]
        proxy, full = plan.spec.proxy, plan.spec.full
        work = min(full.rows or rows, rows) * full.epochs / (min(proxy.rows or rows, rows) * proxy.epochs)
        whole = [trial.seconds for trial in self._study.trials() if trial.state == "complete"]
        each = float(work) * sum(whole) / max(1, len(whole))
        runs = expected_runs(self._study.trials(), plan.spec.confirm, plan.spec.runners_up, plan.objectives)
        return min(MOST_CONFIRMATION * self._clock.budget, each * runs / plan.spec.workers)

    # -- time, and stopping -------------------------------------------------------------------------------------------

    def _stopping(self) -> bool:
        return self._draining or self._lease.lost or self._store.cancel_requested(self.record)

    def _ended(self, plan: Plan) -> str:
        """Return why the runs under way are not waited for; empty while they are."""
        if self._clock.left <= 0:
            return "the wall-time budget ended"
        return CANCELLED if self._store.cancel_requested(self.record) else ""

    def _report(
        self, phase: str, plan: Plan, running: int, event: str, done: int | None = None, total: int | None = None
    ) -> None:
        answer = read_answer(self._store, self.record.id, self._study.trials())
        if phase == "search":
            done, total = len(self._finished()), plan.budget.trials
        left: float | None = None
        if self._clock.left < math.inf:
            left = max(0.0, self._clock.left)
        elif total is not None and self._run_seconds:
            left = statistics.fmean(self._run_seconds) * max(0, total - (done or 0)) / plan.spec.workers
        scores = [row.score for row in answer.front]
        progress = Progress(
            phase=phase,
            done=done or 0,
            total=total,
            running=running,
            best=max(scores, default=None),
            hypervolume=answer.hypervolume,
            seconds=self._clock.spent,
            seconds_left=left,
            event=event,
        )
        self._store.events.add(self.record.id, "progress", asdict(progress))
        self._listener(progress)


def _executor_options(plan: Plan, settings: Settings) -> ExecutorOptions:
    spec = plan.spec
    return ExecutorOptions(
        workers=spec.workers,
        ray_address=settings.ray_address,
        table=spec.table,
        need=gpu_need(plan.model, spec, plan.space.document.quantisation),
        pack=_most_packed(plan) if spec.pack == "auto" else spec.pack,
        fit=spec.pack == "auto",
    )


def _most_packed(plan: Plan) -> int:
    """Return how many trials a worker's pack may hold, where its memory decides."""
    if plan.budget.trials is None:
        return MOST_PACKED
    return max(1, min(MOST_PACKED, plan.budget.trials // (PART_AT_ONCE * plan.spec.workers)))


def _wall_time(budget: Budget, text: str, executor: Executor) -> float:
    """Return the seconds of wall time that a budget is, with GPU time shared by the executor's GPUs.

    Raises:
        InvalidInput: GPU time where the executor has no GPU.
    """
    if budget.gpu_seconds is None:
        return math.inf if budget.seconds is None else budget.seconds
    if not executor.gpus:
        remedy = "GPU time, and no worker has a GPU; resume with trials (--budget 40) or wall time (--budget 2h)"
        raise InvalidInput(Problem("budget", text, remedy))
    return budget.gpu_seconds / executor.gpus


def open_study(plan: Plan, record: SearchRecord, settings: Settings, earlier: Sequence[Trial] = ()) -> Study:
    """Open the study of a search, creating it if the search has none yet; its sampler learns from earlier trials."""
    return Study(
        storage=open_storage(settings.database_url),
        name=record.name,
        sampler=plan.spec.sampler,
        metric=record.facts["metric"],
        setting=replace(plan.setting(evidence_folder(settings, record.id)), earlier=earlier),
    )


def _confirmation_request(plan: Plan, trial: Trial, seed: int) -> TrialRequest:
    key = f"confirm {trial.architecture.fingerprint}.{seed}"
    extra = {"parts": ("validation",), "keep_weights": seed == WEIGHTS_SEED}
    return plan.request(key, trial.architecture, plan.spec.full, seed).model_copy(update=extra)


def _length(plan: Plan, step: Step) -> float:
    """Return how long a step's run takes beside others: by the layers that it trains through, then by its size."""
    if not isinstance(step, Trial):
        return math.inf
    layers = plan.model.geometry.layers
    lowest = min(step.architecture.layers, default=layers)
    return layers - lowest + step.params / plan.base_parameters
