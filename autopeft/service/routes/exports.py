"""Winners taken away: recipes, other tools' formats, and pictures of the front."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Response

from autopeft.answer import Answer, Row
from autopeft.errors import LossyExport
from autopeft.recipe import Recipe
from autopeft.service import schemas
from autopeft.service.context import Service, TheService
from autopeft.service.sandbox import Export
from autopeft.stored import read_front, weights_path
from autopeft.winner import make_recipe

router = APIRouter(tags=["exports"])
Pick = Annotated[str, Query(max_length=60, examples=["best", "knee", "smallest", "12", "params<=0.5%"])]
FormatName = Annotated[str, Query(alias="format", max_length=40)]
TEXT = {".yaml", ".yml", ".json", ".py", ".md", ".txt", ".jsonl", ".sh"}
PICTURES = {"png": "image/png", "html": "text/html; charset=utf-8"}
# A picture may run its own scripts, apart from everything else of this host.
PICTURE_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; frame-ancestors 'self'"
)
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "One file, or several as a ZIP archive.", "content": {"*/*": {"schema": {"type": "string"}}}}
}


@router.get("/searches/{search}/exports", response_model=schemas.ExportsDocument)
async def list_exports(search: str, service: TheService, pick: Pick = "best") -> dict[str, Any]:
    """How an architecture fits into every format, with what each cannot hold."""
    row, recipe, weights = await to_thread.run_sync(_recipe, service, search, pick)
    return {"pick": row.trial, "formats": await service.checker.run("fits", recipe, weights)}


@router.get("/searches/{search}/recipe", response_class=Response, responses=FILE)
async def export(
    search: str,
    service: TheService,
    format_name: FormatName = "recipe",
    pick: Pick = "best",
    allow_lossy: bool = False,
    archive: bool = False,
) -> Response:
    """An architecture in a format; what the format cannot hold is refused, or listed in it if that is allowed.

    Several files are sent as an archive, and a single one if it is asked for.
    """
    _, recipe, weights = await to_thread.run_sync(_recipe, service, search, pick)
    found: Export = await service.checker.run("export", recipe, format_name, weights, allow_lossy)
    if found.reasons:
        raise LossyExport(format_name, found.reasons, "allow_lossy=true writes it where anything can be written")
    files = {name: _curtained(service, name, content) for name, content in found.files.items()}
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{recipe.name}-{format_name}").strip(".-")
    if archive or len(files) > 1:
        return _attachment(f"{stem}.zip", _zip(files), "application/zip")
    name, content = next(iter(files.items()))
    return _attachment(f"{stem}{Path(name).suffix}", content, "application/octet-stream")


@router.get("/searches/{search}/plot", response_class=Response, responses=FILE)
async def plot(
    search: str, service: TheService, format_name: Annotated[Literal["png", "html"], Query(alias="format")] = "png"
) -> Response:
    """A picture of the front beside the baselines."""
    answer = await to_thread.run_sync(_answer, service, search)
    content = await service.checker.run("plot", answer, format_name)
    return Response(content, media_type=PICTURES[format_name], headers={"Content-Security-Policy": PICTURE_POLICY})


def _answer(service: Service, search: str) -> Answer:
    return read_front(service.store, service.store.get(search))


def _recipe(service: Service, search: str, pick: str) -> tuple[Row, Recipe, Path | None]:
    record = service.store.get(search)
    numbers = [int(pick)] if pick.isascii() and pick.isdecimal() and len(pick) < 10 else []
    answer = read_front(service.store, record, numbers)
    row = answer.pick(pick)
    weights = weights_path(service.settings, record.id, row.architecture.fingerprint)
    return row, make_recipe(record, row, answer.baselines), weights if weights.exists() else None


def _curtained(service: Service, name: str, content: bytes) -> bytes:
    return service.curtain.text(content.decode()).encode() if Path(name).suffix in TEXT else content


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(name, content)
    return buffer.getvalue()


def _attachment(name: str, content: bytes, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
