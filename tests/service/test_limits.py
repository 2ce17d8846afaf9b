"""Bodies: what counts is the bytes that come, and what comes is never held as a whole."""

import asyncio
import json
import resource
from typing import Any

import pytest

from tests.service.conftest import Running

LARGE = 64 * 1024


class Wire:
    """Sends one request to an application as a server does, and counts what it took of the body."""

    def __init__(self, service: Running, path: str, headers: dict[str, str], chunk: bytes, chunks: int) -> None:
        self._app = service.app
        self._left = chunks
        self._chunk = chunk
        self.taken = 0
        self.status = 0
        self.body = b""
        raw = [(name.lower().encode(), value.encode()) for name, value in {"Host": "127.0.0.1", **headers}.items()]
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": raw,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

    async def _receive(self) -> dict[str, Any]:
        if self._left <= 0:
            return {"type": "http.request", "body": b"", "more_body": False}
        self._left -= 1
        self.taken += len(self._chunk)
        return {"type": "http.request", "body": self._chunk, "more_body": self._left > 0}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    def send(self) -> int:
        asyncio.run(self._app(self._scope, self._receive, self._send))  # type: ignore[arg-type]
        return self.status


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "path", ["/api/v1/searches", "/api/v1/checks", "/api/v1/session", "/api/v1/searches/x/resume"]
)
@pytest.mark.parametrize("length", [None, "10", "0", "99999999999", "9" * 60])
def test_a_json_body_of_any_said_length_ends_at_a_mebibyte(service: Running, path: str, length: str | None) -> None:
    headers = {**JSON, **({"Content-Length": length} if length else {})}
    wire = Wire(service, path, headers, b" " * LARGE, 10_000)
    assert wire.send() == 413
    assert wire.taken <= 1024 * 1024 + LARGE
    assert json.loads(wire.body)["status"] == 413


def test_a_body_of_a_gibibyte_leaves_memory_and_disk_as_they_were(service: Running) -> None:
    chunk = b"a,b\n" * (LARGE // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wire = Wire(service, "/api/v1/uploads?name=rows.csv", {"Transfer-Encoding": "chunked"}, chunk, 1024**3 // LARGE)
    assert wire.send() == 413
    assert wire.taken <= 100_000_000 + 2 * LARGE
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 50e6
    assert not list((service.settings.home / "uploads").iterdir())


def test_what_is_not_announced_as_an_upload_has_the_small_limit(service: Running) -> None:
    for path in ("/api/v1/uploads/x", "/api/v1/upload", "/", "/api/studies"):
        wire = Wire(service, path, JSON, b" " * LARGE, 10_000)
        wire.send()
        assert wire.taken <= 1024 * 1024 + LARGE
