"""What a search has left in the store, for those who only look at it: no model, space or data is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from autopeft.answer import Answer, make_answer
from autopeft.architecture import Architecture
from autopeft.messages import TrialReport
from autopeft.objectives import further
from autopeft.pareto import cost_axis, non_dominated
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.store.trials import TrialEntry
from autopeft.trial import Trial


def read_answer(store: Store, name: str, trials: Sequence[Trial]) -> Answer:
    """Return the answer of a search as it stands."""
    record = store.get(name)
    return _make_answer(record, trials, store.evaluations(record, "confirmation"))


def _make_answer(
    record: SearchRecord, trials: Sequence[Trial], confirmations: Mapping[tuple[str, int], TrialReport]
) -> Answer:
    return make_answer(
        search=record.id,
        name=record.name,
        state=record.state,
        facts=record.facts,
        trials=trials,
        confirmations=confirmations,
        objectives=further(record.spec.objectives),
    )


def read_front(store: Store, record: SearchRecord, also: Collection[int] = ()) -> Answer:
    """Return the same answer without the rows that are on no front, from as few trials as it takes.

    A study of ten thousand trials is answered without reading ten thousand architectures.

    Args:
        store: where the search is.
        record: of the search.
        also: numbers of trials that are to be among the rows in any case.
    """
    confirmations = store.evaluations(record, "confirmation")
    if further(record.spec.objectives):
        wanted = store.trials.numbers(record.id)
    else:
        confirmed = {fingerprint for fingerprint, _ in confirmations}
        points = store.trials.points(record.id, confirmed)
        on_front = non_dominated([(cost_axis(point.params), point.score) for point in points])
        wanted = {points[index].number for index in on_front}
        wanted |= {point.number for point in points if point.name or point.fingerprint in confirmed}
        # The least score of all is what the hypervolume is measured from where there is no baseline.
        wanted |= {point.number for point in sorted(points, key=lambda point: point.score)[:1]}
    entries = store.trials.some(record.id, {*wanted, *also})
    return _make_answer(record, [to_trial(entry) for entry in entries], confirmations)


def to_entry(trial: Trial) -> TrialEntry:
    """Return a trial as the store's table of trials holds it."""
    return TrialEntry(
        number=trial.number,
        attempt=trial.attempts,
        state=trial.state,
        reason=trial.reason,
        name=trial.name,
        fingerprint=trial.architecture.fingerprint,
        params=trial.params,
        score=trial.score,
        seconds=trial.seconds,
        body=trial.to_dict(),
    )


def to_trial(entry: TrialEntry) -> Trial:
    """Return the trial that :func:`to_entry` was given."""
    body = entry.body
    return Trial(
        number=entry.number,
        name=entry.name,
        architecture=Architecture.from_dict(body["architecture"]),
        params=entry.params,
        score=entry.score,
        state=entry.state,
        reason=entry.reason,
        seconds=entry.seconds,
        attempts=entry.attempt,
        detail=body["detail"],
        measures=body["measures"],
        source=body["source"],
        steps=body["steps"],
        curve=tuple((step, score) for step, score in body["curve"]),
    )


def weights_path(settings: Settings, search: str, fingerprint: str) -> Path:
    """Return where the trained modules of a confirmed architecture lie."""
    return settings.artifacts / search / f"{fingerprint}.safetensors"


def evidence_folder(settings: Settings, search: str) -> Path:
    """Return the folder in which a sampler keeps the evidence for what it chose."""
    return settings.artifacts / search / "evidence"
