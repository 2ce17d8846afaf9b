"""The service as an ASGI application: it only wires."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI
from pydantic.json_schema import models_json_schema

from autopeft.errors import InvalidInput, Problem
from autopeft.service import page, problems
from autopeft.service.checking import Checker
from autopeft.service.context import Service, admitted
from autopeft.service.curtain import Curtain
from autopeft.service.dashboard import Dashboard, Studies
from autopeft.service.layers import BodyLimit, Observed
from autopeft.service.metrics import Metrics
from autopeft.service.routes import events, exports, health, options, searches, session, trials, uploads
from autopeft.service.schemas import ProblemDocument, SearchRequest
from autopeft.service.security import COOKIE, Door
from autopeft.service.uploads import UploadFolder
from autopeft.settings import Settings
from autopeft.store import Store

UPLOAD_LIMIT, UPLOAD_QUOTA = 100_000_000, 5_000_000_000
# More requests than this are not worked on at once: one interpreter would only switch between them.
THREADS = 16
# Seconds: a database that is away is answered with 503, not waited for.
PATIENCE = 2.0
ERRORS = {
    400: "no request that can be read",
    401: "no valid token",
    403: "not allowed",
    404: "not found",
    409: "contradicts what is there",
    413: "too large",
    415: "not sent as JSON",
    422: "wrong input; `errors` has every problem",
    429: "too many wrong tokens",
    503: "the database is away, or too much waits",
}


def make_app(
    settings: Settings,
    store: Store,
    *,
    loopback: bool = True,
    checker: Checker | None = None,
    own_controller: Callable[[], bool] | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        settings: data folder and database.
        store: of that database.
        loopback: whether it listens to this machine alone, and so needs no token while there is none.
        checker: checks requests; one of its own if not given.
        own_controller: says whether the controller that was started with the service is alive, if one was.

    Raises:
        InvalidInput: ``AUTOPEFT_UPLOAD_LIMIT`` or ``AUTOPEFT_UPLOAD_QUOTA`` is no number of bytes.
    """
    checker = checker or Checker()
    limit = _read_bytes("AUTOPEFT_UPLOAD_LIMIT", UPLOAD_LIMIT)
    quota = _read_bytes("AUTOPEFT_UPLOAD_QUOTA", UPLOAD_QUOTA)
    door = Door(store.tokens, loopback)
    studies = Studies(settings.database_url, PATIENCE)
    service = Service(
        settings=settings,
        store=store,
        checker=checker,
        curtain=Curtain(settings),
        door=door,
        uploads=UploadFolder(settings, store, checker, quota),
        studies=studies,
        upload_limit=limit,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        checker.warm()
        yield
        checker.close()

    metrics = Metrics(store, lambda: checker.waiting)
    app = _application(service, lifespan=lifespan, openapi_url=None)
    app.state.metrics = metrics
    app.state.own_controller = own_controller
    app.include_router(health.router)
    app.include_router(page.router)
    app.mount("/ui", page.files())
    app.mount("/api/v1", _make_api(service))
    app.mount("/", Dashboard(studies, door))
    app.add_middleware(BodyLimit, upload_limit=limit)
    app.add_middleware(Observed, metrics=metrics)
    return app


def _make_api(service: Service) -> FastAPI:
    api = _application(
        service, openapi_url=None, servers=[{"url": "/api/v1"}], description="Searches for PEFT configurations."
    )
    documented: dict[int | str, dict[str, Any]] = {
        status: {
            "description": text,
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for status, text in ERRORS.items()
    }
    private = APIRouter(dependencies=[Depends(admitted)], responses=documented)
    for group in (searches, trials, events, exports, uploads, options, session):
        private.include_router(group.router)

    @private.get("/openapi.json", include_in_schema=False)
    def describe() -> dict[str, Any]:
        return api.openapi()

    api.include_router(private)
    api.include_router(session.public, responses=documented)
    plain = api.openapi
    api.openapi = lambda: _completed(plain())  # type: ignore[method-assign]
    return api


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document with the shapes that the routes name by reference, and who may use them."""
    _, found = models_json_schema(
        [(SearchRequest, "validation"), (ProblemDocument, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    document["components"]["schemas"].update(found["$defs"])
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    document["security"] = [{"token": []}, {"cookie": []}]
    for operation in document["paths"]["/session"].values():
        operation["security"] = []
    return document


def _application(service: Service, **options: Any) -> FastAPI:
    response_class = service.curtain.response_class()
    app = FastAPI(
        title="AutoPEFT",
        version=importlib.metadata.version("autopeft"),
        default_response_class=response_class,
        docs_url=None,
        redoc_url=None,
        **options,
    )
    app.state.service = service
    app.state.response_class = response_class
    problems.install(app)
    return app


def _read_bytes(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not int(text):
        raise InvalidInput(Problem(name, text, "must be a number of bytes"))
    return int(text)
