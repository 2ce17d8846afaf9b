"""Whether the service is alive, whether it can work, and what it has done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from autopeft.service.context import TheService, admitted
from autopeft.service.metrics import Metrics

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def is_alive() -> dict[str, Any]:
    """Answer, whatever the rest does."""
    return {"alive": True}


@router.get("/readyz")
def is_ready(request: Request, service: TheService) -> dict[str, Any]:
    """Answer if the database does, with the controllers that are there."""
    own: Callable[[], bool] | None = request.app.state.own_controller
    return {
        "ready": True,
        "database": "answers",
        "controllers_at_work": service.store.controllers(),
        "controllers_waiting": service.store.waiting.count(),
        "own_controller": None if own is None else "alive" if own() else "being started",
    }


@router.get("/metrics")
def metrics(request: Request, service: TheService) -> Response:
    """What Prometheus reads."""
    admitted(request, service)
    counted: Metrics = request.app.state.metrics
    return Response(counted.text(), media_type=CONTENT_TYPE_LATEST)
