"""Searches: checked, submitted, listed, cancelled, resumed."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, HTTPException, Query, Response
from fastapi.responses import RedirectResponse

from autopeft.errors import InvalidInput, NotFound, Problem
from autopeft.lease import change_budget
from autopeft.messages import SearchState
from autopeft.naming import name_problems
from autopeft.service import schemas
from autopeft.service.context import Service, TheCaller, TheDocument, TheService
from autopeft.service.documents import front_document, history, search_document, search_documents
from autopeft.service.problems import listed
from autopeft.service.restrictions import restrict
from autopeft.service.sandbox import Checked
from autopeft.service.security import Caller
from autopeft.store import SearchRecord, Submission
from autopeft.warm_start import CHOICES, create_search

router = APIRouter(tags=["searches"])
REQUEST = {"$ref": "#/components/schemas/SearchRequest"}
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": REQUEST}}}}
# What is no search is answered too, with what is wrong with it.
ANY = {"anyOf": [REQUEST, {"type": "object"}]}
ANY_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": ANY}}}}
Key = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]{1,200}$")]


@router.post("/checks", response_model=schemas.CheckDocument, openapi_extra=ANY_BODY)
async def check(document: TheDocument, service: TheService) -> dict[str, Any]:
    """Say whether a search could be submitted, with every problem or what it comes to; nothing is stored."""
    try:
        checked = await _check(service, document)
        await to_thread.run_sync(_require_free, service, checked)
    except InvalidInput as error:
        return {"valid": False, "errors": listed(error.problems), "plan": None}
    facts = checked.facts
    plan = {name: facts[name] for name in ("base_parameters", "metric", "rows", "labels")}
    plan |= {"cardinality": checked.cardinality, "smallest": checked.smallest}
    return {"valid": True, "errors": [], "plan": plan}


@router.post("/searches", status_code=202, response_model=schemas.SearchDocument, openapi_extra=BODY)
async def submit(
    document: TheDocument, service: TheService, caller: TheCaller, response: Response, idempotency_key: Key = None
) -> dict[str, Any]:
    """Submit a search; whichever controller is free works on it.

    The same Idempotency-Key with the same body gives the same search, however often it is sent.
    """
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    submission = Submission(caller.owner, idempotency_key, digest)
    record = await to_thread.run_sync(service.store.submitted, submission)
    if record is None:
        checked = await _check(service, document)
        record = await to_thread.run_sync(_create, service, checked, submission)
    response.headers["Location"] = f"/api/v1/searches/{record.id}"
    return await to_thread.run_sync(search_document, service.store, record)


@router.get("/searches", response_model=schemas.SearchPage)
def list_searches(
    service: TheService,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
    state: SearchState | None = None,
) -> Response:
    """Searches, newest first; ``next`` is the cursor of the page after."""
    try:
        before = None if cursor is None else service.store.get(cursor)
    except NotFound as error:
        raise InvalidInput(Problem("cursor", cursor, "no cursor of this list; begin without one")) from error
    records = service.store.list(limit + 1, before, state)
    page = records[:limit]
    following = page[-1].id if len(records) > limit else None
    return service.answer({"searches": search_documents(service.store, page), "next": following})


@router.get("/searches/{search}", response_model=schemas.SearchDocument)
def read(search: str, service: TheService) -> Response:
    """One search, by its id or name."""
    return service.answer(search_document(service.store, service.store.get(search)))


@router.get("/searches/{search}/front", response_model=schemas.Front)
def read_front(search: str, service: TheService) -> Response:
    """The front and the baselines, and the trial that each pick is."""
    return service.answer(front_document(service.store, service.store.get(search)))


@router.get("/searches/{search}/history", response_model=schemas.History)
def read_history(search: str, service: TheService) -> Response:
    """How the search went."""
    return service.answer({"points": history(service.store, service.store.get(search).id)})


@router.get("/searches/{search}/dashboard", status_code=307, response_class=RedirectResponse)
def dashboard(search: str, service: TheService) -> str:
    """Where Optuna's dashboard shows the search."""
    study = service.studies.find(service.store.get(search).name)
    return "/dashboard" if study is None else f"/dashboard/studies/{study}"


@router.post("/searches/{search}/cancel", status_code=202, response_model=schemas.SearchDocument)
def cancel(search: str, service: TheService, caller: TheCaller) -> dict[str, Any]:
    """Ask whoever works on the search to stop; what is finished stays. It may be sent again."""
    store = service.store
    before = _own(service, caller, search)
    return search_document(store, store.request_cancel(before.id))


@router.post("/searches/{search}/resume", status_code=202, response_model=schemas.SearchDocument)
def resume(
    search: str, service: TheService, caller: TheCaller, request: schemas.ResumeRequest | None = None
) -> dict[str, Any]:
    """Queue a search again, with more budget if any is given."""
    store = service.store
    record = _own(service, caller, search)
    if request is None or request.budget is None:
        return search_document(store, store.serve(record.id))
    return search_document(store, change_budget(store, record, request.budget, serve=True))


async def _check(service: Service, document: dict[str, Any]) -> Checked:
    """Check a request as a whole.

    Raises:
        InvalidInput: with every problem, that of its name among them.
    """
    rest, problems = restrict(document)
    name = rest.pop("name", None)
    if isinstance(name, str):
        problems += name_problems(name)
    elif name is not None:
        problems.append(Problem("name", name, "must be text"))
    try:
        rest = await to_thread.run_sync(service.uploads.resolve, rest)
    except InvalidInput as error:
        problems += error.problems
        del rest["task"]
    checked = await service.checker.check(rest, problems)
    return checked.named(name)


def _create(service: Service, checked: Checked, submission: Submission) -> SearchRecord:
    try:
        return create_search(
            service.store, service.settings, checked.spec, checked.facts, checked.warm_start, submission
        )
    except NotFound as error:
        raise InvalidInput(Problem("warm_start", checked.warm_start, str(error))) from error


def _require_free(service: Service, checked: Checked) -> None:
    """Refuse what would be refused when it is stored."""
    problems = []
    if checked.spec.name is not None and _is_there(service, checked.spec.name):
        problems.append(Problem("name", checked.spec.name, "taken; choose another"))
    if checked.warm_start not in CHOICES and not _is_there(service, checked.warm_start):
        problems.append(
            Problem("warm_start", checked.warm_start, f"no such search; give one, or {', '.join(CHOICES)}")
        )
    if problems:
        raise InvalidInput(*problems)


def _is_there(service: Service, name: str) -> bool:
    try:
        service.store.get(name)
    except NotFound:
        return False
    return True


def _own(service: Service, caller: Caller, search: str) -> SearchRecord:
    """Return a search that the caller may change."""
    record = service.store.get(search)
    if not caller.is_admin and record.submitter != caller.owner:
        raise HTTPException(403, f"search {record.name!r} was submitted by somebody else; that takes an admin")
    return record
