"""What may be asked for."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from autopeft.service.context import TheService
from autopeft.service.schemas import Options

router = APIRouter(tags=["options"])


@router.get("/options", response_model=Options)
async def read_options(service: TheService) -> dict[str, Any]:
    """Models, tasks, spaces, samplers, policies, metrics, formats, and the defaults of a search."""
    found: dict[str, Any] = await service.checker.once("options")
    return {**found, "upload_limit": service.upload_limit}
