"""Optuna's dashboard, behind the service's door and to look at alone."""

from collections.abc import Iterator

import optuna
import pytest

from autopeft.store import SearchRecord
from tests.service.conftest import Running


@pytest.fixture
def study(service: Running, done: SearchRecord) -> Iterator[int]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = service.app.state.service.studies.storage
    made = optuna.create_study(study_name=done.name, storage=storage, directions=["minimize", "maximize"])
    yield made._study_id


def test_the_dashboard_shows_the_searches_study(service: Running, done: SearchRecord, study: int) -> None:
    assert "Optuna Dashboard" in service.client.get("/dashboard").text
    assert service.client.get("/static/bundle.js").status_code == 200
    studies = service.client.get("/api/studies").json()["study_summaries"]
    assert [one["study_name"] for one in studies] == [done.name]
    answer = service.client.get(f"/api/v1/searches/{done.id}/dashboard", follow_redirects=False)
    assert answer.status_code == 307 and answer.headers["location"] == f"/dashboard/studies/{study}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/studies"),
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("PUT", "/api/trials/1/note"),
        ("POST", "/api/trials/1/user-attrs"),
        ("POST", "/api/artifacts/1/1"),
        ("DELETE", "/api/artifacts/1/x"),
        ("POST", "/incompatible-rdb-schema"),
        ("PATCH", "/dashboard"),
    ],
)
def test_nothing_can_be_changed_there(service: Running, study: int, method: str, path: str) -> None:
    answer = service.client.request(method, path, json={})
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"
    assert len(service.client.get("/api/studies").json()["study_summaries"]) == 1


@pytest.mark.parametrize("path", ["/api/llm/query", "/api/v2/x", "/nothing", "/dashboardx", "/api", "/.env"])
def test_what_is_not_the_dashboards_is_not_asked_of_it(service: Running, path: str) -> None:
    assert service.client.get(path).status_code == 404
