"""Searches as a controller leaves them, made without training: real architectures and counts, made-up scores."""

import math
import os
import random
import socket
from dataclasses import asdict
from functools import cache
from itertools import count

from autopeft.controller import open_study
from autopeft.controller.shortlist import candidates
from autopeft.messages import SearchSpec, TrialReport
from autopeft.progress import Progress
from autopeft.samplers.base import Proposal
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.store.store import Submission
from autopeft.stored import read_answer, to_entry
from autopeft.submission import make_plan

SECONDS = 4.2
SUBMISSION = Submission("local", None, "")
_spec = {"model": "minilm", "executor": "inline", "sampler": "random", "confirm": 3, "budget": "36"}
REASONS = (
    ("diverged", "the loss was not finite at step 12"),
    ("out_of_memory", "no memory for 1 row at a time"),
    ("timeout", "still at work after 3,600 s"),
)


@cache
def _facts(plan_of):
    plan = plan_of()
    return {
        "model_hash": plan.model.fingerprint,
        "task_hash": "0123456789abcdef",
        "kind": "classification",
        "labels": ["negative", "neutral", "positive"],
        "metric": "accuracy",
        "rows": {"train": 2000, "holdout": 500, "validation": 500, "test": 500},
        "base_parameters": plan.base_parameters,
        "layers": plan.space.geometry.layers,
        "versions": {"torch": "2.13.0"},
        "first": [],
    }


def create(store: Store, name: str, submission: Submission | None = SUBMISSION, **changes) -> SearchRecord:
    """Store a search that nobody works on; without a submission, as the command line does."""
    spec = SearchSpec.model_validate({**_spec, **changes, "name": name})
    facts = {**_facts(_default_plan), "first": []}
    return store.create(spec, facts, submission)


def _default_plan():
    return make_plan(SearchSpec.model_validate(_spec))


class Work:
    """A controller that invents its scores."""

    def __init__(self, store: Store, settings: Settings, record: SearchRecord) -> None:
        self.store, self.settings = store, settings
        owner = f"{socket.gethostname()}:{os.getpid()}:tests"
        claimed = store.claim(record.id, owner, 3600.0)
        assert claimed is not None
        self.record = claimed
        self.plan = make_plan(record.spec)
        self.study = open_study(self.plan, self.record, settings)
        self.random = random.Random(record.name)
        self.seconds = 0.0
        self.baselines = iter(self.plan.baselines.items()) if record.spec.baselines else iter(())
        self.numbers = count()
        store.set_state(self.record, "running")

    def train(self, trials: int) -> int:
        """Finish so many more trials, and return how many are; now and then one fails or is stopped early."""
        for _ in range(trials):
            self._finish(self._start())
            self._report("search", self._finished(), self.plan.budget.trials)
        return self._finished()

    def begin(self) -> None:
        """Leave one more trial running."""
        trial = self._start()
        self.store.trials.put(self.record.id, self.record.attempt, [to_entry(trial)])

    def confirm(self) -> None:
        """Train the front and the baselines again over three seeds."""
        chosen = candidates(self.study.trials(), 0)
        for done, (trial, seed) in enumerate([(t, s) for s in range(3) for t in chosen], 1):
            score = self._score(trial) + 0.012
            report = self._report_of(trial.params, {"validation": score})
            self.store.add_evaluation(
                self.record, "confirmation", trial.architecture, self.plan.spec.full, seed, report
            )
            self.seconds += 2 * SECONDS
            self._report("confirm", done, 3 * len(chosen))

    def end(self, state: str, detail: str = "") -> SearchRecord:
        """Give the search back."""
        self.store.release(self.record, state, self.seconds, detail)
        return self.store.get(self.record.id)

    def _start(self):
        baseline = next(self.baselines, None)
        if baseline is not None:
            name, (architecture, params) = baseline
            return self.study.start_given(architecture, params, self.plan.base_parameters, name)
        proposal = self.study.propose()
        assert isinstance(proposal, Proposal)
        return self.study.start(proposal, self.plan.base_parameters)

    def _finish(self, trial) -> None:
        number = next(self.numbers)
        report = self._report_of(trial.params, {"holdout": self._score(trial)})
        if not trial.name and number % 7 == 3:
            reason, detail = REASONS[number % len(REASONS)]
            report = TrialReport.failure("", reason, detail, SECONDS / 3)
        elif not trial.name and number % 5 == 4:
            update = {
                "state": "pruned",
                "reason": "pruned",
                "scores": {},
                "detail": "0.4012 after 32 of 96 steps, where 0.4850 was needed",
            }
            report = report.model_copy(update=update)
        self.seconds += report.seconds
        told = self.study.tell(trial.number, report, report.scores.get("holdout"))
        spec = self.plan.spec
        seed = spec.proxy_seed(trial.architecture)
        self.store.add_evaluation(self.record, "proxy", trial.architecture, spec.proxy, seed, report)
        self.store.trials.put(self.record.id, self.record.attempt, [to_entry(told)])

    def _score(self, trial) -> float:
        ahead = 0.0 if trial.name else 0.02
        return 0.46 + ahead + 0.07 * math.log10(1 + trial.params / 900) + self.random.gauss(0, 0.01)

    def _report_of(self, params: int, scores: dict[str, float]) -> TrialReport:
        best = max(scores.values())
        return TrialReport(
            key="",
            state="complete",
            scores=scores,
            params=params,
            seconds=SECONDS + params / 2e5,
            peak_memory=900_000_000,
            steps=96,
            curve=((11, 0.7 * best), (32, 0.85 * best), (96, best)),
            device="cpu",
        )

    def _finished(self) -> int:
        return len([trial for trial in self.study.trials() if trial.state != "running"])

    def _report(self, phase: str, done: int, total: int | None) -> None:
        answer = read_answer(self.store, self.record.id, self.study.trials())
        last = self.study.trials()[-1]
        progress = Progress(
            phase=phase,
            done=done,
            total=total,
            running=1,
            best=max((row.score for row in answer.front), default=None),
            hypervolume=answer.hypervolume,
            seconds=self.seconds,
            seconds_left=SECONDS * max(0, (total or 0) - done),
            event=f"trial {last.number}: {last.name or last.architecture.summary()}: {last.params:,} params",
        )
        self.store.events.add(self.record.id, "progress", asdict(progress))


def finish(store: Store, settings: Settings, name: str, **changes) -> SearchRecord:
    """Store a search that is done, with trials, failures, baselines and a confirmed front."""
    record = create(store, name, **changes)
    work = Work(store, settings, record)
    work.train(record.spec.budget.isdigit() and int(record.spec.budget) or 20)
    work.confirm()
    return work.end("done")
