"""One trial of a search, as Optuna's storage records it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError

from autopeft.architecture import Architecture
from autopeft.database import PATIENCE, create_folder, engine_options, protect
from autopeft.evaluation import Evaluation
from autopeft.messages import place

# Waits between attempts to open a database whose tables another process is creating, in seconds.
WAITS = (0.1, 0.3, 1.0, 3.0)
# The attribute of a trial that was chosen, but never run.
WITHDRAWN = "withdrawn"
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: Optuna's, from 0.
        name: of a baseline; empty for a point of the space.
        params: trainable PEFT parameters.
        score: held-out score of the proxy run; None until told, and where the run did not come to its end.
        state: ``running``, ``complete``, ``pruned`` (stopped early by a policy) or ``failed``; a trial that is neither
            running nor complete has a reason, and mostly a detail.
        attempts: how often the run was started.
        measures: what it came to in the search's further objectives.
        source: id of the search whose run this is, where it was not run again.
        steps: that the run was to take.
        curve: (step, held-out score) of every evaluation, of a pruned run too.
    """

    number: int
    name: str
    architecture: Architecture
    params: int
    score: float | None
    state: str
    reason: str | None
    seconds: float
    attempts: int
    detail: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    steps: int = 0
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def share(self) -> float:
        """Share of its training that the trial got, as far as it is told."""
        return 1.0 if self.state == "complete" else self.curve[-1][0] / self.steps if self.curve else 0.0

    def score_at(self, share: float) -> float | None:
        """Return the held-out score after a share of the training, or None where it was not scored there."""
        return dict(self.curve).get(place(share, self.steps))

    @classmethod
    def from_record(cls, frozen: FrozenTrial) -> Trial:
        """Read a trial for which :func:`is_recorded` holds."""
        attributes = frozen.user_attrs
        state = _STATES.get(frozen.state, "running")
        return cls(
            number=frozen.number,
            name=attributes["name"],
            architecture=Architecture.from_dict(json.loads(attributes["architecture"])),
            params=attributes["params"],
            score=frozen.values[1] if state == "complete" else None,
            state=state,
            reason=attributes.get("reason"),
            seconds=attributes.get("seconds", 0.0),
            attempts=attributes["attempts"],
            detail=attributes.get("detail", ""),
            measures=attributes.get("measures", {}),
            source=attributes.get("source", ""),
            steps=attributes.get("steps", 0),
            curve=tuple((step, score) for step, score in attributes.get("curve", ())),
        )

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation) -> Trial:
        """Return another search's run as a trial without a number."""
        report = evaluation.report
        return cls(
            number=-1,
            name="",
            architecture=evaluation.decoded,
            params=report.params,
            score=report.scores.get("holdout"),
            state=report.state,
            reason=report.reason,
            seconds=report.seconds,
            attempts=1,
            detail=report.detail,
            source=report.source,
            steps=report.steps,
            curve=report.curve,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as JSON values."""
        return {
            "trial": self.number,
            "name": self.name or self.architecture.summary(),
            "state": self.state,
            "reason": self.reason,
            "detail": self.detail,
            "params": self.params,
            "score": self.score,
            "curve": [[step, score] for step, score in self.curve],
            "steps": self.steps,
            "source": self.source,
            "seconds": self.seconds,
            "measures": dict(self.measures),
            "fingerprint": self.architecture.fingerprint,
            "architecture": self.architecture.to_dict(),
        }


def is_recorded(frozen: FrozenTrial) -> bool:
    """Whether the trial's architecture was recorded, the last thing that is written when a trial starts.

    One that was taken back before it was run does not count.
    """
    return "architecture" in frozen.user_attrs and WITHDRAWN not in frozen.user_attrs


def read_trials(storage: BaseStorage, name: str) -> list[Trial]:
    """Return the recorded trials of a study by number; none where the study was not started yet."""
    if name not in optuna.get_all_study_names(storage):
        return []
    study = optuna.load_study(study_name=name, storage=storage)
    return [Trial.from_record(frozen) for frozen in study.get_trials(deepcopy=False) if is_recorded(frozen)]


def open_storage(url: str, patience: float = PATIENCE) -> RDBStorage:
    """Return Optuna's storage in a database, as safe to share and to crash on as our own tables.

    Args:
        url: SQLAlchemy URL.
        patience: seconds for which a database that is away or locked is waited for.
    """
    create_folder(url)
    storage = _create_storage(url)
    protect(storage.engine, patience)
    storage.engine.dispose()  # connections made before they were protected
    return storage


@contextmanager
def opened_storage(url: str) -> Iterator[RDBStorage]:
    """Open Optuna's storage for a while, and give its connections back."""
    storage = open_storage(url)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def _create_storage(url: str) -> RDBStorage:
    # Of two processes that open a new database at once, both create Optuna's tables, and one fails.
    for wait in WAITS:
        try:
            return RDBStorage(url, engine_kwargs=engine_options(url))
        except (DBAPIError, StorageInternalError):
            time.sleep(wait)
    return RDBStorage(url, engine_kwargs=engine_options(url))
