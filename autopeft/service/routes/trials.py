"""The trials of a search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Response

from autopeft.architecture import Architecture
from autopeft.errors import NotFound
from autopeft.service import schemas
from autopeft.service.context import Service, TheService
from autopeft.store.trials import Order, TrialEntry

router = APIRouter(tags=["trials"])
MOST = 2**31 - 1
Number = Annotated[int, Path(ge=0, le=MOST)]


@router.get("/searches/{search}/trials", response_model=schemas.TrialPage)
def list_trials(
    search: str,
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[int, Query(ge=0, le=MOST)] = 0,
    sort: Order = "number",
    order: Literal["asc", "desc"] = "asc",
    state: Literal["", "running", "complete", "pruned", "failed"] = "",
) -> Response:
    """Trials in an order, those without a score last; ``next`` is the cursor of the page after."""
    record = service.store.get(search)
    page = service.store.trials.page(record.id, limit, cursor, sort, order == "desc", state)
    total = service.store.trials.count(record.id, state)
    end = cursor + len(page)
    following = str(end) if page and end < total else None
    return service.answer({"trials": [entry.body for entry in page], "next": following, "total": total})


@router.get("/searches/{search}/trials/{number}")
async def read_trial(search: str, number: Number, service: TheService) -> dict[str, Any]:
    """One trial, with its architecture drawn as layers by modules in text."""
    model, entry = await to_thread.run_sync(_find, service, search, number)
    architecture = Architecture.from_dict(entry.body["architecture"])
    return {**entry.body, "drawing": await service.checker.run("drawing", model, architecture)}


def _find(service: Service, search: str, number: int) -> tuple[str, TrialEntry]:
    record = service.store.get(search)
    for entry in service.store.trials.some(record.id, [number]):
        return record.spec.model, entry
    raise NotFound(f"search {record.name!r} has no trial {number}")
