"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from autopeft.errors import (
    AutopeftError,
    Conflict,
    InvalidInput,
    LossyExport,
    NoFeasibleArchitecture,
    NotFound,
    Problem,
)
from autopeft.service.checking import Unavailable
from autopeft.service.uploads import OverQuota

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = "2"
STATUS: dict[type[AutopeftError], int] = {
    OverQuota: 413,
    InvalidInput: 422,
    NotFound: 404,
    Conflict: 409,
    LossyExport: 409,
    NoFeasibleArchitecture: 422,
    Unavailable: 503,
    AutopeftError: 422,
}
log = structlog.get_logger("autopeft.service")


def install(app: FastAPI) -> None:
    """Make an application answer every error with a problem document."""
    app.add_exception_handler(AutopeftError, _on_autopeft)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    for away in (DBAPIError, StorageInternalError, PoolTimeout):
        app.add_exception_handler(away, _on_away)
    app.add_exception_handler(Exception, _on_fault)


def respond(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Return a problem document; it names no path of this machine."""
    document = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status, "detail": detail}
    response_class: type[JSONResponse] = request.app.state.response_class
    return response_class({**document, **more}, status, headers=headers, media_type=MEDIA_TYPE)


def listed(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return problems as JSON values."""
    return [{"field": one.field, "value": _plain(one.value), "remedy": one.remedy} for one in problems]


def _plain(value: object) -> object:
    """Return a value as JSON has it: numbers and short texts as they are, anything else as text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


async def _on_autopeft(request: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    more: dict[str, Any] = {}
    if isinstance(error, InvalidInput):
        more["errors"] = listed(error.problems)
    if isinstance(error, LossyExport):
        more["losses"] = list(error.losses)
    if isinstance(error, NoFeasibleArchitecture):
        more["infeasible"] = True
    headers = {"Retry-After": RETRY_SECONDS} if status == 503 else None
    return respond(request, status, str(error), headers, **more)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        Problem(".".join(map(str, item["loc"][1:])) or str(item["loc"][0]), item.get("input"), str(item["msg"]))
        for item in error.errors()
    ]
    return respond(request, 422, "\n".join(map(str, problems)), errors=listed(problems))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):
        headers["Allow"] = ", ".join(sorted(methods))
    return respond(request, error.status_code, str(error.detail), headers)


def _methods(request: Request) -> set[str]:
    """Return what a path can be asked for; the framework knows that of one of its routes alone."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if not isinstance(route.original_route, Mount) and route.matches(request.scope)[0] != Match.NONE:
            found |= route.methods or set()
    return found


async def _on_away(request: Request, error: Exception) -> Response:
    log.warning("database does not answer", error=str(error).split("\n")[0])
    headers = {"Retry-After": RETRY_SECONDS}
    return respond(request, 503, "the database does not answer; what was finished is kept", headers)


async def _on_fault(request: Request, error: Exception) -> Response:
    log.error("a request failed by a fault of autopeft", path=request.url.path, exc_info=error)
    return respond(request, 500, "a fault of autopeft; its log says more")
