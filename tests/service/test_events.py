"""The stream of events."""

import pytest

from autopeft.messages import SearchSpec
from autopeft.store import SearchRecord
from tests.service.conftest import FACTS, Running

STREAM = {"Accept": "text/event-stream"}


def _frames(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines() if ": " in line) for block in blocks]


def test_a_finished_searchs_stream_has_every_event_and_ends(service: Running, done: SearchRecord) -> None:
    answer = service.client.get(f"/api/v1/searches/{done.id}/events", headers=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = _frames(answer.text)
    assert [frame["event"] for frame in frames] == ["submitted", "state", *["progress"] * 6, "state"]
    assert frames[-1]["data"] == '{"state":"done","detail":""}'
    ids = [int(frame["id"]) for frame in frames]
    assert ids == sorted(set(ids))


def test_a_stream_goes_on_after_the_last_event_that_was_seen(service: Running, done: SearchRecord) -> None:
    at = f"/api/v1/searches/{done.id}/events"
    frames = _frames(service.client.get(at, headers=STREAM).text)
    seen = frames[4]["id"]
    assert _frames(service.client.get(at, headers={**STREAM, "Last-Event-ID": seen}).text) == frames[5:]
    assert _frames(service.client.get(f"{at}?after={seen}", headers=STREAM).text) == frames[5:]
    assert _frames(service.client.get(at, headers={**STREAM, "Last-Event-ID": "x2"}).text) == frames
    assert service.client.get(at, headers={**STREAM, "Last-Event-ID": "9" * 30}).text == ""


def test_events_come_in_pages_too(service: Running, done: SearchRecord) -> None:
    at = f"/api/v1/searches/{done.id}/events"
    first = service.client.get(f"{at}?limit=5").json()
    assert [event["kind"] for event in first["events"]] == ["submitted", "state", *["progress"] * 3]
    assert first["last"] == first["events"][-1]["id"]
    rest = service.client.get(f"{at}?after={first['last']}").json()
    assert len(rest["events"]) == 4 and rest["events"][-1]["body"] == {"state": "done", "detail": ""}
    assert service.client.get(f"{at}?after={rest['last']}").json() == {"events": [], "last": rest["last"]}


def test_there_is_no_stream_of_nothing(service: Running) -> None:
    assert service.client.get("/api/v1/searches/nothing/events", headers=STREAM).status_code == 404


@pytest.mark.timeout(60)
def test_a_stream_of_a_search_that_its_maker_has_left_ends(service: Running) -> None:
    made = service.store.create(SearchSpec(name="mine"), FACTS)
    record = service.store.claim(made.id, "host:1:abc", 15.0)
    assert record is not None
    service.store.release(record, "interrupted", 1.0)
    frames = _frames(service.client.get(f"/api/v1/searches/{made.id}/events", headers=STREAM).text)
    assert frames[-1]["data"] == '{"state":"interrupted","detail":""}'


def test_a_stream_of_a_cancelled_search_ends(service: Running, done: SearchRecord) -> None:
    service.store.serve(done.id)
    service.client.post(f"/api/v1/searches/{done.id}/cancel")
    frames = _frames(service.client.get(f"/api/v1/searches/{done.id}/events", headers=STREAM).text)
    assert frames[-1]["data"] == '{"state":"cancelled","detail":""}'
