"""Reading searches."""

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError

from autopeft.service.documents import MOST_POINTS
from autopeft.store import SearchRecord
from autopeft.store.tables import TrialRow
from autopeft.stored import to_entry
from tests.service.conftest import Running, finish, make_trial, progress


def test_a_search_is_found_by_id_and_by_name_with_everything_that_the_contract_says(
    service: Running, done: SearchRecord
) -> None:
    by_id = service.client.get(f"/api/v1/searches/{done.id}").json()
    assert by_id == service.client.get("/api/v1/searches/reviews").json()
    assert by_id["id"] == done.id and by_id["state"] == "done" and by_id["seconds"] == 12.0
    assert by_id["trials"] == {"running": 0, "complete": 5, "pruned": 0, "failed": 1}
    assert by_id["metric"] == "accuracy" and by_id["base_parameters"] == 22_713_216
    assert by_id["submitter"] == "ada" and by_id["served"] and by_id["owner"] is None
    assert by_id["task"] == "docstrings" and by_id["spec"]["task"]["name"] == "docstrings"
    assert by_id["progress"]["done"] == 5
    assert set(by_id["links"]) == {"self", "front", "trials", "events", "recipe", "dashboard"}
    assert service.client.get(by_id["links"]["front"]).status_code == 200


def test_no_search_of_that_name_is_404_as_a_problem_document(service: Running) -> None:
    answer = service.client.get("/api/v1/searches/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Not Found" and "nothing" in answer.json()["detail"]


def test_pages_of_searches_have_each_once_newest_first(service: Running) -> None:
    names = [finish(service.store, f"n{i}").name for i in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = service.client.get(f"/api/v1/searches?limit=3{cursor}").json()
        seen += [one["name"] for one in page["searches"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == names[::-1]


def test_searches_of_one_state(service: Running, done: SearchRecord) -> None:
    assert service.client.get("/api/v1/searches?state=done").json()["searches"][0]["id"] == done.id
    assert service.client.get("/api/v1/searches?state=queued").json()["searches"] == []
    assert service.client.get("/api/v1/searches?state=nix").status_code == 422


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=nothing"])
def test_a_wrong_query_is_422_and_names_its_field(service: Running, query: str) -> None:
    answer = service.client.get(f"/api/v1/searches?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


def test_the_front_is_that_of_the_command_line_with_its_picks(service: Running, done: SearchRecord) -> None:
    front = service.client.get(f"/api/v1/searches/{done.id}/front").json()
    assert front["search"] == done.id and front["metric"] == "accuracy"
    assert [row["trial"] for row in front["front"]] == [0, 1, 2]
    assert all(row["confirmed"] for row in front["front"])
    assert [row["name"] for row in front["baselines"]] == ["head only"]
    assert front["pick"] == {"best": 2, "knee": front["pick"]["knee"], "smallest": 1}
    assert front["pick"]["knee"] in (1, 2)
    assert front["hypervolume"] > front["baseline_hypervolume"] == 0.0
    assert front["base_parameters"] == 22_713_216 and front["objectives"] == ["params", "score"]


def test_the_front_of_a_search_that_has_not_begun_is_empty(service: Running) -> None:
    record = finish(service.store, "new", trials=2)
    with service.store._sessions.write() as session:
        session.execute(delete(TrialRow))
    front = service.client.get(f"/api/v1/searches/{record.id}/front").json()
    assert front["front"] == [] and front["pick"] == {"best": None, "knee": None, "smallest": None}


def test_the_history_has_every_step_and_of_many_as_many_as_a_plot_has_use_for(
    service: Running, done: SearchRecord
) -> None:
    points = service.client.get(f"/api/v1/searches/{done.id}/history").json()["points"]
    assert [point["at"] for point in points] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert points[-1] == {"at": 10.0, "done": 5, "best": 0.75, "hypervolume": 0.5, "phase": "search"}
    for step in range(6, 1300):
        service.store.events.add(done.id, "progress", progress(step))
    points = service.client.get(f"/api/v1/searches/{done.id}/history").json()["points"]
    assert MOST_POINTS / 2 < len(points) <= MOST_POINTS and points[-1]["done"] == 1299


def test_trials_are_paged_sorted_and_filtered(service: Running, done: SearchRecord) -> None:
    at = f"/api/v1/searches/{done.id}/trials"
    page = service.client.get(f"{at}?limit=4").json()
    assert [one["trial"] for one in page["trials"]] == [0, 1, 2, 3] and page["total"] == 6
    rest = service.client.get(f"{at}?limit=4&cursor={page['next']}").json()
    assert [one["trial"] for one in rest["trials"]] == [4, 5] and rest["next"] is None
    best = service.client.get(f"{at}?sort=score&order=desc").json()["trials"]
    assert [one["trial"] for one in best] == [4, 3, 2, 1, 0, 5]
    failed = service.client.get(f"{at}?state=failed").json()
    assert [one["reason"] for one in failed["trials"]] == ["diverged"] and failed["total"] == 1
    assert service.client.get(f"{at}?sort=nix").status_code == 422


def test_a_trial_comes_with_its_drawing(service: Running, done: SearchRecord) -> None:
    trial = service.client.get(f"/api/v1/searches/{done.id}/trials/3").json()
    assert trial["trial"] == 3 and trial["state"] == "complete"
    assert "lora" in trial["drawing"] and "0-3" in trial["drawing"] and "16" in trial["drawing"]
    assert service.client.get(f"/api/v1/searches/{done.id}/trials/99").status_code == 404
    assert service.client.get(f"/api/v1/searches/{done.id}/trials/-1").status_code == 422


def test_cancelling_twice_is_as_cancelling_once(service: Running) -> None:
    record = service.store.get(finish(service.store).id)
    service.store.serve(record.id)
    at = f"/api/v1/searches/{record.id}"
    assert [service.client.post(f"{at}/cancel").json()["state"] for _ in range(2)] == ["cancelled", "cancelled"]
    told = [event.body["state"] for event in service.store.events.after(record.id) if event.kind == "state"]
    assert told.count("cancelled") == 1


def test_a_finished_search_gets_more_budget_and_waits_for_a_controller(service: Running, done: SearchRecord) -> None:
    at = f"/api/v1/searches/{done.id}"
    resumed = service.client.post(f"{at}/resume", json={"budget": "+20"})
    assert resumed.status_code == 202
    assert resumed.json()["state"] == "queued" and resumed.json()["budget"] == "60"
    assert service.client.post(f"{at}/resume").status_code == 409


def test_a_resume_that_fails_on_its_way_adds_nothing_and_may_be_sent_again(
    service: Running, done: SearchRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("x", {}, Exception("gone"))

    at = f"/api/v1/searches/{done.id}/resume"
    with monkeypatch.context() as patch:
        patch.setattr(service.store, "_tell", fail)
        assert service.client.post(at, json={"budget": "+20"}).status_code == 503
    assert service.store.get(done.id).spec.budget == "40"
    assert service.client.post(at, json={"budget": "+20"}).json()["budget"] == "60"
    assert service.client.post(at, json={"budget": "+20"}).status_code == 409
    assert service.store.get(done.id).spec.budget == "60"


@pytest.mark.parametrize(("budget", "status"), [("3", 409), ("lots", 422), ("+1h", 422)])
def test_a_budget_that_makes_no_sense_is_refused_and_changes_nothing(
    service: Running, done: SearchRecord, budget: str, status: int
) -> None:
    answer = service.client.post(f"/api/v1/searches/{done.id}/resume", json={"budget": budget})
    assert answer.status_code == status
    assert service.store.get(done.id).spec.budget == "40" and service.store.get(done.id).state == "done"


def test_a_search_that_somebody_works_on_is_not_resumed(service: Running, done: SearchRecord) -> None:
    service.store.serve(done.id)
    service.store.claim(done.id, "elsewhere:1:abc", 60.0)
    for body in ({}, {"budget": "+1"}):
        assert service.client.post(f"/api/v1/searches/{done.id}/resume", json=body).status_code == 409


def test_of_thousands_of_trials_a_page_is_read(service: Running, done: SearchRecord) -> None:
    store = service.store
    entries = [to_entry(make_trial(number, 0.5 + number / 1e5)) for number in range(2000)]
    store.trials.put(done.id, done.attempt, entries)
    page = service.client.get(f"/api/v1/searches/{done.id}/trials?limit=50&sort=params&order=desc").json()
    assert page["total"] == 2000 and page["trials"][0]["trial"] == 1999


def test_an_unknown_path_below_the_api_is_a_problem_and_not_the_dashboards(service: Running) -> None:
    answer = service.client.get("/api/v1/nothing")
    assert answer.status_code == 404 and answer.json()["status"] == 404
    assert service.client.put("/api/v1/searches").status_code == 405
