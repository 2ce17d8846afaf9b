"""What wraps every request: a bound on its body, the headers of every answer, counts and a line in the log."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autopeft.service.metrics import Metrics

MOST_BYTES = 1024 * 1024
UPLOADS = "/api/v1/uploads"
# Around the file in a form: boundaries and headers.
FORM_BYTES = 64 * 1024
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"
log = structlog.get_logger("autopeft.service")


class BodyLimit:
    """Refuses bodies that are too large, by their bytes as they come: what a header says of them may be wrong.

    Args:
        app: that the requests go to.
        upload_limit: bytes of an uploaded file; other bodies have :data:`MOST_BYTES`.
    """

    def __init__(self, app: ASGIApp, upload_limit: int) -> None:
        self._app = app
        self._upload_limit = upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") == UPLOADS
        limit = self._upload_limit + FORM_BYTES if is_upload else MOST_BYTES
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > limit:
            receive = _too_large(limit)
        await self._app(scope, _counted(receive, limit), send)


def _counted(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, f"larger than {limit} bytes")
        return message

    return counting


def _too_large(limit: int) -> Receive:
    async def refuse() -> Message:
        raise HTTPException(413, f"larger than {limit} bytes")

    return refuse


class Observed:
    """Adds the headers of every answer, and counts and logs each.

    Args:
        app: that the requests go to.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = uuid.uuid4().hex[:12]
        started = time.perf_counter()
        status = 500

        def see(code: int) -> None:
            nonlocal status
            status = code

        with structlog.contextvars.bound_contextvars(request=identity):
            try:
                await self._app(scope, receive, _with_headers(scope, send, identity, see))
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.saw(scope["method"], route, status, seconds)
                milliseconds = round(seconds * 1000, 1)
                log.info("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)


def _with_headers(scope: Scope, send: Send, identity: str, see: Callable[[int], None]) -> Send:
    is_api = scope["path"].startswith("/api/")

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            see(message["status"])
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", POLICY)
            headers["X-Request-ID"] = identity
            if is_api:
                headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
