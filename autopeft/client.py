"""The REST service from outside: what the command line does where ``AUTOPEFT_URL`` names a service."""

from __future__ import annotations

import io
import json
import re
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import httpx

from autopeft.errors import (
    AutopeftError,
    Conflict,
    InvalidInput,
    LossyExport,
    NoFeasibleArchitecture,
    NotFound,
    Problem,
    ServiceUnreachable,
)
from autopeft.messages import rests
from autopeft.settings import read_variable

API = "/api/v1"
URL, TOKEN = "AUTOPEFT_URL", "AUTOPEFT_TOKEN"
# A request is sent again where the service says that it may soon answer, and a stream that breaks off is taken up.
TRIES = 4
LONGEST_WAIT = 10.0
# The check of a data set that is downloaded for it takes its time; a stream says something every few seconds.
TIMEOUT = httpx.Timeout(30.0, read=310.0)
STREAM = "text/event-stream"
Document = dict[str, Any]


class Service:
    """A client of one service. Its methods return what the service sends as JSON.

    Every method raises ServiceUnreachable where the service does not answer, InvalidInput where it refuses the token
    or the request, NotFound, Conflict, or AutopeftError for what went wrong there.

    Args:
        url: of the service, without ``/api/v1``.
        token: that it asks for, if it does.
        transport: how requests are sent; by HTTP if None.

    Raises:
        InvalidInput: the URL is not one.
    """

    def __init__(self, url: str, token: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(Problem(URL, url, "no address; give one as http://127.0.0.1:8000"))
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=f"{self.url}{API}", headers=headers, timeout=TIMEOUT, transport=transport)

    @classmethod
    def from_environment(cls) -> Service | None:
        """Return a client of the service that ``AUTOPEFT_URL`` names, or None where it is not set."""
        url = read_variable(URL)
        return None if url is None else cls(url, read_variable(TOKEN))

    def submit(self, document: Mapping[str, Any], key: str | None = None) -> Document:
        """Submit a search; a key makes it safe to be sent twice, and is made where none is given."""
        return self._json("POST", "/searches", json=document, headers={"Idempotency-Key": key or uuid.uuid4().hex})

    def upload(self, path: Path, encoding: str = "utf-8") -> Document:
        """Send a data file; ``task`` of what is returned is its name for a search."""
        content = path.read_bytes()  # whole, so that it can be sent again
        return self._json("POST", "/uploads", files={"file": (path.name, content)}, params={"encoding": encoding})

    def searches(self) -> Iterator[Document]:
        """Yield all searches, newest first."""
        return self._pages("/searches", "searches", limit=200)

    def search(self, name: str) -> Document:
        """Return a search by id or name."""
        return self._json("GET", _at(name))

    def front(self, name: str) -> Document:
        """Return a search's front and baselines."""
        return self._json("GET", _at(name, "front"))

    def trials(self, name: str) -> Iterator[Document]:
        """Yield every trial of a search, by number."""
        return self._pages(_at(name, "trials"), "trials", limit=1000)

    def cancel(self, name: str) -> Document:
        """Ask whoever works on a search to stop."""
        return self._json("POST", _at(name, "cancel"))

    def resume(self, name: str, budget: str | None = None) -> Document:
        """Queue a search again, with more budget if any is given."""
        return self._json("POST", _at(name, "resume"), json={"budget": budget})

    def plot(self, name: str, plot_format: str) -> bytes:
        """Return a picture of a search's front."""
        return self._ask("GET", _at(name, "plot"), params={"format": plot_format}).content

    def fits(self, name: str, pick: str) -> Document:
        """Return the number of a picked trial, and how it fits into each export format."""
        return self._json("GET", _at(name, "exports"), params={"pick": pick})

    def export(self, name: str, export_format: str, pick: str, allow_lossy: bool = False) -> dict[str, bytes]:
        """Return the files of an architecture in a format, by their paths in a folder.

        Raises:
            LossyExport: the format cannot hold it.
        """
        asked = {"format": export_format, "pick": pick, "allow_lossy": str(allow_lossy).lower(), "archive": "true"}
        return _unzip(self._ask("GET", _at(name, "recipe"), params=asked).content)

    def events(self, name: str, last: int = 0) -> Iterator[Document]:
        """Yield a search's events after one of them, as they happen, until it has come to its end or was left."""
        breaks = 0
        while True:
            try:
                for event in self._stream(name, last):
                    breaks = 0
                    if event is not None:
                        last = event["id"]
                        yield event
                found = self.search(name)
                if rests(found["state"], found["served"], found["owner"]):
                    return
            except ServiceUnreachable:
                breaks += 1
                if breaks == TRIES:
                    raise
            time.sleep(0.5 * 2**breaks)

    def _stream(self, name: str, last: int) -> Iterator[Document | None]:
        """Yield None when the service has begun to answer, then the events."""
        headers = {"Accept": STREAM, "Last-Event-ID": str(last)}
        try:
            with self._http.stream("GET", _at(name, "events"), headers=headers) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._refuse(answer)
                yield None
                yield from _read_events(answer.iter_lines())
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _pages(self, path: str, field: str, limit: int) -> Iterator[Document]:
        cursor: str | None = None
        while True:
            page = self._json("GET", path, params={"limit": limit, **({"cursor": cursor} if cursor else {})})
            yield from page[field]
            cursor = page["next"]
            if cursor is None:
                return

    def _json(self, method: str, path: str, **options: Any) -> Document:
        answer = self._ask(method, path, **options)
        try:
            return cast(Document, answer.json())
        except ValueError as error:
            raise ServiceUnreachable(f"what answers at {self.url} is no service of AutoPEFT") from error

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, again where the service is busy or its database away, and return the answer."""
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._http.request(method, path, **options)
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            if answer.is_success:
                return answer
            if answer.status_code not in (429, 503) or attempt == TRIES:
                self._refuse(answer)
            time.sleep(_seconds(answer))
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnreachable:
        return ServiceUnreachable(f"the service at {self.url} does not answer: {str(error) or type(error).__name__}")

    def _refuse(self, answer: httpx.Response) -> None:
        """Raise the error that a command on this machine would raise."""
        status, document = answer.status_code, _problem(answer)
        detail = str(document.get("detail") or answer.reason_phrase)
        if status in (401, 403):
            raise InvalidInput(Problem(TOKEN, None, f"{detail} ({self.url})"))
        if "title" not in document or answer.is_redirect:
            raise ServiceUnreachable(f"what answers at {self.url} is no service of AutoPEFT: {status} {detail}")
        if status == 404:
            raise NotFound(detail)
        if "losses" in document:
            raise LossyExport(answer.url.params.get("format", ""), document["losses"])
        if status == 409:
            raise Conflict(detail)
        if status in (413, 415, 422) and document.get("errors"):
            raise InvalidInput(*(Problem(one["field"], one["value"], one["remedy"]) for one in document["errors"]))
        if status in (429, 503):
            raise ServiceUnreachable(f"the service at {self.url} cannot answer now: {detail}")
        raise (NoFeasibleArchitecture if document.get("infeasible") else AutopeftError)(detail)


def _at(name: str, *rest: str) -> str:
    return "/".join(("/searches", quote(name, safe=""), *rest))


def _seconds(answer: httpx.Response) -> float:
    asked = answer.headers.get("retry-after", "")
    return min(LONGEST_WAIT, float(asked)) if asked.isdecimal() else 1.0


def _problem(answer: httpx.Response) -> Document:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _read_events(lines: Iterator[str]) -> Iterator[Document]:
    """Yield the events of a stream of server-sent events."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield {"id": int(fields["id"]), "kind": fields.get("event", ""), "body": json.loads(fields["data"])}
            fields = {}


def _unzip(content: bytes) -> dict[str, bytes]:
    """Return the files of an archive.

    Raises:
        AutopeftError: one of them would be written outside the folder.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    for name in files:
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
            raise AutopeftError(f"the service sent a file that does not stay in its folder: {name!r}")
    return files
