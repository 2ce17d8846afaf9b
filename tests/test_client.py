"""The client of the service: what each answer becomes, and streams that break off."""

import io
import json
import zipfile

import httpx
import pytest

from autopeft.client import Service
from autopeft.errors import (
    AutopeftError,
    Conflict,
    InvalidInput,
    LossyExport,
    NoFeasibleArchitecture,
    NotFound,
    ServiceUnreachable,
)

URL = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("autopeft.client.time.sleep", lambda seconds: None)


def service(*answers):
    """Return a client that is answered with these, one after another, and the requests that it makes."""
    waiting, seen = list(answers), []

    def answer(request):
        seen.append(request)
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(found, Exception):
            raise found
        return found

    return Service(URL, "apt_secret", httpx.MockTransport(answer)), seen


def problem(status, detail="why", **more):
    document = {"type": "about:blank", "title": "T", "status": status, "detail": detail, **more}
    return httpx.Response(status, json=document, headers={"content-type": "application/problem+json"})


ERRORS = [{"field": "budget", "value": "x", "remedy": "give 40"}, {"field": "model", "value": "y", "remedy": "no"}]


@pytest.mark.parametrize(
    "answer, kind, code, text",
    [
        (problem(401, "this token is not valid"), InvalidInput, 2, "AUTOPEFT_TOKEN: this token is not valid"),
        (problem(403, "this token may not submit"), InvalidInput, 2, "AUTOPEFT_TOKEN: this token may not submit"),
        (problem(404, "no search named 'x'"), NotFound, 3, "no search named 'x'"),
        (problem(409, "taken"), Conflict, 4, "taken"),
        (problem(409, losses=["a", "b"]), LossyExport, 7, "- a\n- b"),
        (problem(422, errors=ERRORS), InvalidInput, 2, "budget = 'x': give 40\nmodel = 'y': no"),
        (problem(422, infeasible=True), NoFeasibleArchitecture, 5, "why"),
        (problem(422), AutopeftError, 1, "why"),
        (problem(500, "a fault"), AutopeftError, 1, "a fault"),
        (problem(503, "away"), ServiceUnreachable, 6, f"the service at {URL} cannot answer now: away"),
        (httpx.Response(404, text="nginx"), ServiceUnreachable, 6, "is no service of AutoPEFT: 404"),
        (httpx.Response(302, headers={"location": "/login"}), ServiceUnreachable, 6, "is no service of AutoPEFT"),
        (httpx.Response(200, text="<html>"), ServiceUnreachable, 6, "is no service of AutoPEFT"),
        (httpx.ConnectError("Connection refused"), ServiceUnreachable, 6, "does not answer: Connection refused"),
        (httpx.ReadTimeout(""), ServiceUnreachable, 6, "does not answer: ReadTimeout"),
    ],
)
def test_an_error_is_the_one_that_a_command_on_this_machine_would_raise(answer, kind, code, text):
    client, _ = service(answer)
    with pytest.raises(AutopeftError) as raised:
        client.search("x")
    assert type(raised.value) is kind and raised.value.exit_code == code
    assert text in str(raised.value)


def test_a_request_is_sent_again_while_the_service_is_busy_and_with_the_same_key():
    client, seen = service(problem(503), problem(429), httpx.Response(202, json={"id": "s-1"}))
    assert client.submit({"budget": "40"}) == {"id": "s-1"}
    assert len(seen) == 3 and len({request.headers["idempotency-key"] for request in seen}) == 1
    assert seen[0].headers["authorization"] == "Bearer apt_secret"


def test_a_name_is_one_part_of_the_address_whatever_it_holds():
    client, seen = service(httpx.Response(200, json={}))
    client.search("a/../b?c#d é")
    assert seen[0].url.raw_path == b"/api/v1/searches/a%2F..%2Fb%3Fc%23d%20%C3%A9"


def test_pages_are_read_to_the_last():
    client, seen = service(
        httpx.Response(200, json={"searches": [1, 2], "next": "s-2"}),
        httpx.Response(200, json={"searches": [3], "next": None}),
    )
    assert list(client.searches()) == [1, 2, 3]
    assert "cursor=s-2" in str(seen[1].url)


def frame(number, kind, **body):
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(body)}\n\n"


def ended(state):
    return {"state": state, "served": True, "owner": None}


def test_events_are_read_on_where_a_stream_broke_off():
    client, seen = service(
        httpx.Response(200, text=frame(4, "state", state="running") + ": ping\n\n" + frame(7, "progress", done=1)),
        httpx.ConnectError("gone"),
        httpx.Response(200, text=frame(9, "state", state="done")),
        httpx.Response(200, json=ended("done")),
    )
    events = list(client.events("mine"))
    assert [(event["id"], event["kind"]) for event in events] == [(4, "state"), (7, "progress"), (9, "state")]
    assert [request.headers.get("last-event-id") for request in seen] == ["0", None, "7", None]


class Broken(httpx.SyncByteStream):
    """A stream that says nothing of the search, and breaks off."""

    def __iter__(self):
        yield b": ping\n\n"
        raise httpx.ReadError("gone")


def test_a_quiet_search_is_watched_however_often_its_stream_breaks_off():
    broken = [httpx.Response(200, stream=Broken()) for _ in range(9)]
    rest = [httpx.Response(200, text=frame(9, "state", state="done")), httpx.Response(200, json=ended("done"))]
    client, seen = service(*broken, *rest)
    assert [event["id"] for event in client.events("mine")] == [9]
    assert len(seen) == 11


def test_a_search_that_was_left_where_it_was_started_is_watched_no_longer():
    left = {**ended("interrupted"), "served": False}
    client, _ = service(httpx.Response(200, text=""), httpx.Response(200, json=left))
    assert list(client.events("mine")) == []


def test_a_service_that_stays_away_ends_the_watching():
    client, seen = service(httpx.ConnectError("gone"))
    with pytest.raises(ServiceUnreachable):
        list(client.events("mine"))
    assert 1 < len(seen) < 10


def archive(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as writing:
        for name, content in files.items():
            writing.writestr(name, content)
    return httpx.Response(200, content=buffer.getvalue(), headers={"content-type": "application/zip"})


def test_exported_files_are_unpacked():
    client, _ = service(archive(**{"recipe.yaml": "a: 1", "more/x.json": "{}"}))
    assert client.export("mine", "recipe", "best") == {"recipe.yaml": b"a: 1", "more/x.json": b"{}"}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:x"])
def test_a_file_that_would_be_written_elsewhere_is_refused(name):
    client, _ = service(archive(**{name: "x"}))
    with pytest.raises(AutopeftError, match="does not stay in its folder"):
        client.export("mine", "recipe", "best")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "nonsense"])
def test_what_is_no_address_is_bad_input(url):
    with pytest.raises(InvalidInput, match="AUTOPEFT_URL"):
        Service(url)


def test_the_environment_names_the_service(monkeypatch):
    monkeypatch.delenv("AUTOPEFT_URL", raising=False)
    assert Service.from_environment() is None
    monkeypatch.setenv("AUTOPEFT_URL", f"{URL}/")
    found = Service.from_environment()
    assert found is not None and found.url == URL
