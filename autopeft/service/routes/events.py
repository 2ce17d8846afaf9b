"""What happens to a search, as a stream (SSE) or in pages."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from autopeft.service import schemas
from autopeft.service.context import Service, TheService
from autopeft.store.events import Event

router = APIRouter(tags=["events"])
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
MOST = 2**31 - 1
STREAM = "text/event-stream"
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.EventPage, "content": {STREAM: {"schema": {"type": "string"}}}}
}


@router.get("/searches/{search}/events", responses=ANSWERS, response_model=None)
async def read_events(
    search: str,
    request: Request,
    service: TheService,
    after: Annotated[int, Query(ge=0, le=MOST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)] = None,
) -> Response:
    """Events after one of them, by ``after`` or the header Last-Event-ID; a stream to who accepts text/event-stream.

    A stream ends when the search has come to its end, or has been left by whoever worked on it outside the service.
    """
    record = await to_thread.run_sync(service.store.get, search)
    if STREAM in request.headers.get("accept", ""):
        if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
            after = min(int(last_event_id), MOST)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_stream(service, record.id, after), media_type=STREAM, headers=headers)
    events = await to_thread.run_sync(service.store.events.after, record.id, after, limit)
    document = {"events": [vars(event) for event in events], "last": events[-1].id if events else after}
    return request.app.state.response_class(document)  # type: ignore[no-any-return]


async def _stream(service: Service, search: str, last: int) -> AsyncIterator[bytes]:
    heard = time.monotonic()
    while True:
        rests, events = await to_thread.run_sync(service.store.look, search, last)
        for event in events:
            yield _frame(service, event)
            last, heard = event.id, time.monotonic()
        if events:
            continue
        if rests:
            return
        if time.monotonic() - heard > HEARTBEAT_SECONDS:
            yield KEEPALIVE_COMMENT
            heard = time.monotonic()
        await anyio.sleep(POLL_SECONDS)


def _frame(service: Service, event: Event) -> bytes:
    return format_sse_event(data_str=service.curtain.json(event.body), event=event.kind, id=str(event.id))
