"""Searches as the service shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autopeft.answer import PICKS, Answer
from autopeft.errors import NoFeasibleArchitecture
from autopeft.store import SearchRecord, Store
from autopeft.store.events import Event
from autopeft.stored import read_front

API = "/api/v1"
STATES = ("running", "complete", "pruned", "failed")
MOST_POINTS = 500


def search_documents(store: Store, records: Sequence[SearchRecord]) -> list[dict[str, Any]]:
    """Return searches as JSON values."""
    searches = [record.id for record in records]
    counts, latest = store.trials.counts_of(searches), store.events.latest_of(searches)
    return [_document(record, counts[record.id], latest.get(record.id)) for record in records]


def search_document(store: Store, record: SearchRecord) -> dict[str, Any]:
    """Return a search as JSON values."""
    return search_documents(store, [record])[0]


def _document(record: SearchRecord, counts: Mapping[str, int], latest: Event | None) -> dict[str, Any]:
    spec = record.spec
    at = f"{API}/searches/{record.id}"
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state,
        "detail": record.detail,
        "created": record.created,
        "seconds": round(record.seconds, 1),
        "model": spec.model,
        "task": spec.task.name,
        "space": spec.space,
        "sampler": spec.sampler,
        "budget": spec.budget,
        "max_params": spec.max_params,
        "objectives": list(spec.objectives),
        "caps": spec.caps,
        "metric": record.facts["metric"],
        "base_parameters": record.facts["base_parameters"],
        "layers": record.facts.get("layers"),  # not known of searches that were stored before it was
        "submitter": record.submitter,
        "served": record.served,
        "owner": record.owner,
        "spec": spec.model_dump(mode="json"),
        "trials": {state: counts.get(state, 0) for state in STATES},
        "progress": None if latest is None else dict(latest.body),
        "links": {
            "self": at,
            **{name: f"{at}/{name}" for name in ("front", "trials", "events", "recipe", "dashboard")},
        },
    }


def front_document(store: Store, record: SearchRecord) -> dict[str, Any]:
    """Return a search's front and baselines as JSON values, with the trial that each pick is."""
    answer = read_front(store, record)
    return {
        **answer.to_dict(),
        "base_parameters": answer.base_parameters,
        "objectives": list(record.spec.objectives),
        "pick": {choice: _picked(answer, choice) for choice in PICKS},
    }


def _picked(answer: Answer, choice: str) -> int | None:
    try:
        return answer.pick(choice).trial
    except NoFeasibleArchitecture:
        return None


def history(store: Store, search: str) -> list[dict[str, Any]]:
    """Return how a search went, as at most :data:`MOST_POINTS` points, the last one among them."""
    return [_point(event.body) for event in store.events.spread(search, "progress", MOST_POINTS)]


def _point(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"at": body["seconds"], **{name: body[name] for name in ("done", "best", "hypervolume", "phase")}}
