"""What a new search tries first: the fronts that earlier searches found for the same base model."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Any

from autopeft.architecture import Architecture
from autopeft.errors import InvalidInput, Problem
from autopeft.messages import SearchSpec
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store, Submission
from autopeft.stored import read_answer
from autopeft.trial import opened_storage, read_trials

CHOICES = ("none", "same", "all")
# As many as a search has first points of its own kind to spare.
MOST = 12


def create_search(
    store: Store,
    settings: Settings,
    spec: SearchSpec,
    facts: dict[str, Any],
    warm_start: str,
    submission: Submission | None = None,
) -> SearchRecord:
    """Store a new search that was checked, with what it is to try first.

    Args:
        store: of the searches.
        settings: whose database holds their trials.
        spec: what is asked for.
        facts: what was found out when it was checked.
        warm_start: as :attr:`autopeft.submission.Plan.warm_start` says.
        submission: who submitted it to the service, if anybody did.

    Raises:
        InvalidInput: a database cannot hold its name, or its warm start is on another base model.
        NotFound: there is no search to start from.
        Conflict: another search has its name.
    """
    first = first_architectures(store, settings, warm_start, facts["model_hash"])
    return store.create(spec, {**facts, "first": [one.to_dict() for one in first]}, submission)


def first_architectures(store: Store, settings: Settings, warm_start: str, model_hash: str) -> list[Architecture]:
    """Return what is to be tried first, cheapest of every front first; nothing for ``none`` and ``same``.

    Args:
        store: of the searches.
        settings: whose database holds their trials.
        warm_start: one of :data:`CHOICES`, or the id or name of a search.
        model_hash: of the base model; an architecture fits the model that it was found on.

    Raises:
        NotFound: there is no such search.
        InvalidInput: it was on another base model.
    """
    if warm_start in ("none", "same"):
        return []
    if warm_start == "all":
        searches = [one for one in store.list() if one.facts["model_hash"] == model_hash]
    else:
        searches = [store.get(warm_start)]
        if searches[0].facts["model_hash"] != model_hash:
            remedy = f"is of {searches[0].spec.model!r}, another base model; name a search of this one"
            raise InvalidInput(Problem("warm-start", warm_start, remedy))
    fronts = [_front(store, settings, record) for record in searches]
    found: dict[str, Architecture] = {}
    for architecture in chain.from_iterable(zip_longest(*fronts)):
        if architecture is not None and len(found) < MOST:
            found.setdefault(architecture.fingerprint, architecture)
    return list(found.values())


def _front(store: Store, settings: Settings, record: SearchRecord) -> list[Architecture]:
    """Return what a search found; its baselines are in every search anyway."""
    with opened_storage(settings.database_url) as storage:
        trials = read_trials(storage, record.name)
    return [row.architecture for row in read_answer(store, record.id, trials).front if not row.baseline]
