"""Data files that are sent to the service, for searches on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from autopeft.service import schemas
from autopeft.service.context import TheCaller, TheService
from autopeft.service.curtain import UPLOAD
from autopeft.service.forms import FormFile
from autopeft.service.uploads import ENCODING
from autopeft.store.uploads import Upload

router = APIRouter(tags=["uploads"])
BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": FORM}, "application/octet-stream": BINARY},
    }
}


@router.post("/uploads", status_code=201, response_model=schemas.UploadDocument, openapi_extra=BODY)
async def upload(
    request: Request,
    service: TheService,
    caller: TheCaller,
    name: Annotated[str, Query(max_length=500, description="of the file, where the body is its content")] = "",
    encoding: Annotated[str, Query(max_length=40)] = ENCODING,
) -> dict[str, Any]:
    """Send a CSV, TSV, JSONL or Parquet file: in a form's field ``file``, or as the body with its ``name``."""
    chunks: AsyncIterator[bytes] = request.stream()
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        form = FormFile(content_type, chunks)
        await form.open()
        name, chunks = form.name, form.chunks()
    stored = await service.uploads.receive(caller.owner, name, encoding, chunks, service.upload_limit)
    return _document(stored)


@router.get("/uploads", response_model=schemas.UploadPage)
def list_uploads(service: TheService) -> dict[str, Any]:
    """All uploads, newest first."""
    return {"uploads": [_document(upload) for upload in service.store.uploads.list()]}


def _document(stored: Upload) -> dict[str, Any]:
    return {**vars(stored), "task": f"{UPLOAD}{stored.id}"}
