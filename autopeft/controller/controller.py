"""The life of a search at work: owned by a lease, taken from wherever it stands, and given back with what came of it.

Everything that a controller knows is in the database before it goes on, so it can be killed at any moment and another
one resumes.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError

from autopeft.answer import Answer
from autopeft.budget import Budget
from autopeft.controller.clock import Clock
from autopeft.controller.confirmation_phase import ConfirmationPhase
from autopeft.controller.known_runs import KnownRuns
from autopeft.controller.search_phase import SearchPhase
from autopeft.controller.work import CANCELLED, Work, open_study
from autopeft.errors import AutopeftError, InvalidInput, NoFeasibleArchitecture, Problem, ServiceUnreachable
from autopeft.executors import EXECUTORS, Executor, ExecutorOptions
from autopeft.executors.memory import gpu_need
from autopeft.executors.recall import RecallingExecutor
from autopeft.lease import Lease
from autopeft.messages import SearchState, TrialReport
from autopeft.progress import Listener
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.submission import Plan, make_plan

# A search whose cluster does not answer lets others go before it for so long.
PAUSE_SECONDS = 15.0
# Packs that are sized by memory: at most so many runs, and all workers' at most such a part of a budget of trials, so
# that most of them are chosen by what others came to.
MOST_PACKED, PART_AT_ONCE = 16, 8


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
            return self._run(closing).answer()

    def _run(self, closing: ExitStack) -> Work:
        state: SearchState = "interrupted"
        detail, infeasible, pause = "", False, 0.0
        try:
            work = self._begin()
            closing.callback(work.study.close)
            state = self._go_through(work)
            return work
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

    def _begin(self) -> Work:
        facts = self.record.facts
        plan = replace(make_plan(self.record.spec), model_hash=facts["model_hash"], task_hash=facts["task_hash"])
        earlier = [] if plan.spec.warm_start == "none" else self._known.of_others(plan.spec.proxy)
        return Work(
            store=self._store,
            settings=self._settings,
            lease=self._lease,
            plan=plan,
            study=open_study(plan, self.record, self._settings, earlier),
            clock=self._clock,
            draining=lambda: self._draining,
            listener=self._listener,
        )

    def _go_through(self, work: Work) -> SearchState:
        """Take the search through its phases, and return the state that it is left in."""
        searching, spec = SearchPhase(work), work.plan.spec
        if work.cancelled():
            for _, trial in searching.recover():  # what a lost controller left running
                work.tell(trial, TrialReport.failure("", "stopped", CANCELLED))
            return "cancelled"
        self._store.set_state(self.record, "running")
        trains = EXECUTORS.get(spec.executor).start(_executor_options(work.plan, self._settings))
        executor: Executor = trains if spec.warm_start == "none" else RecallingExecutor(trains, self._known.find)
        try:
            self._clock.budget = _wall_time(work.plan.budget, spec.budget, executor)
            searching.run(executor)
            searching.settle_strays()
            if spec.confirm and not work.stopping() and not work.ended():
                ConfirmationPhase(work).run(executor)
        finally:
            executor.close()
        if work.cancelled():
            return "cancelled"
        return "interrupted" if work.stopping() else "done"


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
