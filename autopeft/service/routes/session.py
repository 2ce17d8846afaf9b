"""Who is asking, and the page's cookie."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from autopeft.service.context import TheCaller, TheService
from autopeft.service.schemas import Me, SessionRequest
from autopeft.service.security import COOKIE

router = APIRouter(tags=["session"])
# A session is begun without a token in a header, and ended whether or not the cookie is still good.
public = APIRouter(tags=["session"])


@router.get("/me", response_model=Me)
def read_me(caller: TheCaller) -> dict[str, Any]:
    """In whose name requests are answered, and what they may do."""
    return {"owner": caller.owner, "scopes": list(caller.scopes), "open": caller.open}


@public.post("/session", status_code=204)
def begin(session: SessionRequest, request: Request, response: Response, service: TheService) -> None:
    """Set a cookie that stands for a token, out of reach of the page's scripts."""
    service.door.require_own_page(request)
    if not service.door.is_open:
        service.door.find(request, session.token)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, session.token, httponly=True, samesite="strict", secure=secure, path="/")


@public.delete("/session", status_code=204)
def end(request: Request, response: Response, service: TheService) -> None:
    """Delete the cookie."""
    service.door.require_own_page(request)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
