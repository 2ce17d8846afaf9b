"""Submitting searches: checked as a whole, once each, and by name alone."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.conftest import HERE, ROWS, Running, finish

SMALL = {"budget": 3, "executor": "inline"}


def _fields(answer: httpx.Response) -> set[str]:
    return {error["field"] for error in answer.json()["errors"]}


def test_a_search_is_accepted_and_waits_for_a_controller(service: Running) -> None:
    answer = service.client.post("/api/v1/searches", json={**SMALL, "name": "mine", "max_params": "2%"})
    assert answer.status_code == 202
    search = answer.json()
    assert answer.headers["Location"] == f"/api/v1/searches/{search['id']}" == search["links"]["self"]
    assert search["state"] == "queued" and search["served"] and search["submitter"] == "local"
    record = service.store.get("mine")
    assert record.spec.budget == "3" and record.spec.max_params == "2%"
    assert record.facts["rows"]["train"] == 2048 and record.facts["first"] == []
    told = service.store.events.after(record.id)
    assert [(event.kind, event.body) for event in told] == [("submitted", {"submitter": "local"})]


def test_a_search_is_submitted_in_the_name_of_its_token(service: Running) -> None:
    headers = service.token("submit", owner="grace")
    answer = service.client.post("/api/v1/searches", json=SMALL, headers=headers)
    assert answer.json()["submitter"] == "grace"


def test_a_check_tells_what_a_search_comes_to_and_stores_nothing(service: Running) -> None:
    checked = service.client.post("/api/v1/checks", json={**SMALL, "name": "free"}).json()
    assert checked["valid"] and checked["errors"] == []
    plan = checked["plan"]
    assert plan["base_parameters"] == 22_713_216 and plan["metric"] == "accuracy"
    assert plan["rows"]["train"] == 2048 and len(plan["labels"]) == 8
    assert plan["cardinality"] == 64_000 and plan["smallest"] > 0
    assert service.client.get("/api/v1/searches").json()["searches"] == []


def test_a_space_of_real_numbers_has_no_count(service: Running) -> None:
    endless = [
        name
        for name in (one["name"] for one in service.client.get("/api/v1/options").json()["spaces"])
        if service.client.post("/api/v1/checks", json={**SMALL, "space": name}).json()["plan"] is not None
    ]
    assert "autopeft" in endless and any(name.startswith("preset:") for name in endless)


def test_every_problem_is_told_at_once(service: Running) -> None:
    wrong = {
        "name": "-x",
        "model": "/etc",
        "space": "a/b.yaml",
        "task": {"name": "../../etc/passwd"},
        "executor": "replay",
        "table": "/tmp/x",
        "budget": "lots",
        "sampler": "nix",
        "colour": "red",
        "workers": 0,
    }
    answer = service.client.post("/api/v1/searches", json=wrong)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    expected = {"name", "model", "space", "task.name", "executor", "table", "budget", "sampler", "colour", "workers"}
    assert _fields(answer) == expected
    checked = service.client.post("/api/v1/checks", json=wrong)
    assert checked.status_code == 200 and checked.json()["valid"] is False and _fields(checked) == expected


def test_a_name_that_is_taken_is_409_and_a_check_says_so_before(service: Running) -> None:
    finish(service.store, "mine")
    assert service.client.post("/api/v1/searches", json={**SMALL, "name": "mine"}).status_code == 409
    assert _fields(service.client.post("/api/v1/checks", json={**SMALL, "name": "mine"})) == {"name"}


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", '"x"', '{"budget": NaN}', '{"budget": Infinity}', "[" * 100_000, '{"a":' * 1000, "\xff"],
)
def test_what_is_no_json_object_is_422(service: Running, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.client.post("/api/v1/searches", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"]


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 201, "a\nb", " a", "s-01234567", "", "a/b", ".."])
def test_a_name_that_no_database_or_person_could_hold_is_422(service: Running, text: str) -> None:
    body = json.dumps({**SMALL, "name": text})
    answer = service.client.post("/api/v1/searches", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and _fields(answer) == {"name"}
    checked = service.client.post("/api/v1/checks", content=body, headers={"Content-Type": "application/json"})
    assert not checked.json().get("valid") and _fields(checked) == {"name"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("workers", "1025"),
        ("confirm", "1000000000"),
        ("trial_timeout", "1e999"),
        ("proxy", '{"epochs": 1e999}'),
        ("full", '{"evaluations": 1001}'),
        ("training", '{"learning_rate": 1e999, "gradient_clip": 1e999}'),
        ("gates", '{"temperature": 1e999}'),
        ("model", f'"a/{"b" * 300}"'),
        ("space", f'"{"b" * 300}"'),
        ("task", f'"hf:a/{"b" * 300}"'),
        ("task", '{"name": "docstrings", "max_length": 513}'),
    ],
)
def test_what_has_no_bound_is_422(service: Running, field: str, value: str) -> None:
    body = f'{{"budget": 3, "executor": "inline", "{field}": {value}}}'
    answer = service.client.post("/api/v1/searches", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert {name.partition(".")[0] for name in _fields(answer)} == {field}


@pytest.mark.parametrize("name", ["дом", "名前", "🦊", "a'; DROP TABLE autopeft_searches; --", "<b>x", "{x}", "%s"])
def test_any_other_name_comes_back_as_it_was(service: Running, name: str) -> None:
    answer = service.client.post("/api/v1/searches", json={**SMALL, "name": name})
    assert answer.status_code == 202 and answer.json()["name"] == name
    assert service.client.get(f"/api/v1/searches/{answer.json()['id']}").json()["name"] == name


def test_the_same_key_gives_the_same_search_and_never_another(service: Running) -> None:
    key = {"Idempotency-Key": "abc-1"}
    first = service.client.post("/api/v1/searches", json=SMALL, headers=key)
    # The order of the keys is no difference.
    again = service.client.post("/api/v1/searches", json=dict(reversed(SMALL.items())), headers=key)
    assert first.status_code == again.status_code == 202 and first.json()["id"] == again.json()["id"]
    other = service.client.post("/api/v1/searches", json={**SMALL, "budget": 4}, headers=key)
    assert other.status_code == 409
    assert (
        service.client.post("/api/v1/searches", json=SMALL, headers={"Idempotency-Key": "x" * 201}).status_code == 422
    )


def test_fifty_equal_submissions_at_once_make_one_search(service: Running) -> None:
    async def submit_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE, timeout=120) as client:
            one = {"json": SMALL, "headers": {"Idempotency-Key": "k"}}
            return await asyncio.gather(*(client.post("/api/v1/searches", **one) for _ in range(50)))  # type: ignore[arg-type]

    answers = asyncio.run(submit_all())
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(service.store.list()) == 1
    assert len(service.store.events.after(service.store.list()[0].id)) == 1


def test_fifty_submissions_of_one_name_make_one_search(service: Running) -> None:
    async def submit_all() -> list[int]:
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE, timeout=120) as client:
            body = {**SMALL, "name": "one"}
            answers = await asyncio.gather(*(client.post("/api/v1/searches", json=body) for _ in range(50)))
            return sorted(answer.status_code for answer in answers)

    assert asyncio.run(submit_all()) == [202] + [409] * 49


def test_an_upload_is_a_task_and_no_answer_says_where_it_lies(service: Running) -> None:
    upload = service.upload().json()
    search = service.client.post("/api/v1/searches", json={**SMALL, "name": "up", "task": upload["task"]})
    assert search.status_code == 202, search.text
    assert search.json()["task"] == search.json()["spec"]["task"]["name"] == upload["task"]
    record = service.store.get("up")
    path = Path(record.spec.task.name)
    assert path.parent == service.settings.home / "uploads" and path.read_bytes() == ROWS.encode()
    for text in (search.text, service.client.get("/api/v1/searches").text):
        assert str(service.settings.home) not in text and "uploads/" not in text


def test_a_mistake_in_an_upload_is_told_by_its_name_and_not_its_path(service: Running) -> None:
    upload = service.upload().json()
    task = {"name": upload["task"], "text": ["nothing"], "label": "label"}
    answer = service.client.post("/api/v1/searches", json={**SMALL, "task": task})
    assert answer.status_code == 422
    assert str(service.settings.home) not in answer.text and upload["task"] in answer.text


def test_an_upload_that_is_not_there_is_a_problem_of_the_task(service: Running) -> None:
    answer = service.client.post(
        "/api/v1/searches", json={**SMALL, "task": "upload:u-0123456789abcdef", "budget": "x"}
    )
    assert answer.status_code == 422 and _fields(answer) == {"task", "budget"}


def test_a_search_starts_from_the_front_of_another(service: Running) -> None:
    earlier = finish(service.store)
    answer = service.client.post("/api/v1/searches", json={**SMALL, "warm_start": earlier.name})
    assert answer.status_code == 202
    missing = service.client.post("/api/v1/searches", json={**SMALL, "warm_start": "nothing"})
    assert missing.status_code == 422 and _fields(missing) == {"warm_start"}


def test_a_folder_that_is_called_like_a_model_of_the_hub_is_never_read(
    service: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.chdir(tmp_path)
    answer = service.client.post("/api/v1/checks", json={**SMALL, "model": "org/name"}).json()
    assert [error["field"] for error in answer["errors"]] == ["model"]
    assert "hub" in answer["errors"][0]["remedy"]


def test_options_name_everything_that_may_be_asked_for(service: Running) -> None:
    options = service.client.get("/api/v1/options").json()
    names: dict[str, Any] = {
        kind: [one["name"] for one in options[kind]]
        for kind in ("models", "spaces", "samplers", "policies", "formats")
    }
    assert "minilm" in names["models"] and "autopeft" in names["spaces"] and "preset:mam" in names["spaces"]
    assert {"known_cost", "random"} <= set(names["samplers"]) and "optimistic" in names["policies"]
    assert {"recipe", "peft", "llama-factory"} <= set(names["formats"])
    assert options["defaults"]["budget"] == "40" and options["upload_limit"] == 100_000_000
    assert "accuracy" in options["metrics"] and all(one["summary"] for one in options["tasks"])


def test_a_process_that_checks_and_is_killed_is_started_again(service: Running) -> None:
    checker = service.app.state.service.checker
    assert service.client.post("/api/v1/checks", json={**SMALL, "budget": "lots"}).json()["valid"] is False
    checker._process.kill()
    checker._process.join()
    answers = [service.client.post("/api/v1/checks", json={**SMALL, "seed": 77}) for _ in range(2)]
    assert answers[-1].json()["valid"] is True
