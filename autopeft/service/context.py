"""What the routes share, and what a request brings with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Response
from starlette.exceptions import HTTPException

from autopeft.errors import InvalidInput, Problem
from autopeft.service.checking import Checker
from autopeft.service.curtain import Curtain
from autopeft.service.dashboard import Studies
from autopeft.service.security import SAFE_METHODS, Caller, Door
from autopeft.service.uploads import UploadFolder
from autopeft.settings import Settings
from autopeft.store import Store

DEEPEST = 20


@dataclass(frozen=True)
class Service:
    """What the routes work with.

    Attributes:
        upload_limit: bytes of an uploaded file.
    """

    settings: Settings
    store: Store
    checker: Checker
    curtain: Curtain
    door: Door
    uploads: UploadFolder
    studies: Studies
    upload_limit: int

    def answer(self, document: Any) -> Response:
        """Return a response with what the store holds; it was checked when it was written, and is not again."""
        return Response(self.curtain.json(document), media_type="application/json")


async def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


TheService = Annotated[Service, Depends(_service)]


def admitted(request: Request, service: TheService) -> Caller:
    """Return who sent a request; what only reads needs the scope ``read``, anything else ``submit``.

    Raises:
        HTTPException: 401, 403 or 429.
    """
    return service.door.admit(request, "read" if request.method in SAFE_METHODS else "submit")


TheCaller = Annotated[Caller, Depends(admitted)]


async def _document(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request brings.

    Raises:
        HTTPException: 415 where it is not sent as JSON, which a foreign page cannot make a browser do unasked.
        InvalidInput: it is no JSON object, or holds what no database keeps.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send it as application/json")
    try:
        document = json.loads(await request.body(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(Problem("body", None, f"not JSON: {error}")) from error
    if not isinstance(document, dict):
        raise InvalidInput(Problem("body", None, "must be a JSON object"))
    _check(document, "body", 0)
    return document


TheDocument = Annotated[dict[str, Any], Depends(_document)]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _check(value: object, field: str, depth: int) -> None:
    if depth > DEEPEST:
        raise InvalidInput(Problem(field, None, "nested too deeply"))
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check(key, field, depth)
            _check(item, str(key), depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, field, depth + 1)
    elif isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
        raise InvalidInput(Problem(field, value, "holds a NUL or half of a character, which no database keeps"))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
