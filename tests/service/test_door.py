"""Who is let in."""

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from autopeft.service.security import COOKIE
from tests.service.conftest import HERE, Running, Start, finish

PUBLIC = {("POST", "/session"), ("DELETE", "/session")}


def _api_routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path below /api/v1."""
    api = next(route.app for route in app.routes if isinstance(route, Mount) and route.path == "/api/v1")
    routes = iter_route_contexts(api.routes)
    return [(method, route.path) for route in routes for method in sorted(route.methods or ())]


def test_the_walk_below_sees_every_route_that_is_documented_and_the_document_itself(service: Running) -> None:
    paths = service.client.get("/api/v1/openapi.json").json()["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert set(_api_routes(service.app)) == documented | {("GET", "/openapi.json")}
    assert len(documented) >= 21


def test_every_route_but_the_public_ones_asks_for_a_token(service: Running) -> None:
    service.token("read")
    for method, path in _api_routes(service.app):
        filled = path.replace("{search}", "s").replace("{number}", "0")
        answer = service.client.request(method, f"/api/v1{filled}", json={} if method == "POST" else None)
        assert (answer.status_code == 401) == ((method, path) not in PUBLIC), (method, path, answer.text)
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/metrics", "/dashboard", "/api/studies", "/static/bundle.js", "/csv/1"])
def test_metrics_and_the_dashboard_ask_for_the_same_token(service: Running, path: str) -> None:
    service.token("read")
    assert service.client.get(path).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_whether_it_is_alive_is_told_to_everybody(service: Running, path: str) -> None:
    service.token("read")
    assert service.client.get(path).status_code == 200


def test_one_machine_without_a_token_needs_none(service: Running) -> None:
    assert service.client.get("/api/v1/me").json() == {"owner": "local", "scopes": ["admin"], "open": True}


def test_an_address_that_others_reach_always_needs_one(start: Start) -> None:
    assert start(loopback=False).client.get("/api/v1/me").status_code == 401


def test_scopes_hold(service: Running) -> None:
    read, submit = service.token("read"), service.token("submit")
    assert service.client.get("/api/v1/me", headers=read).json()["scopes"] == ["read"]
    assert service.client.post("/api/v1/checks", headers=read, json={}).status_code == 403
    assert service.client.post("/api/v1/checks", headers=submit, json={"budget": "x"}).status_code == 200


def test_a_revoked_token_is_worthless_at_once(service: Running) -> None:
    service.token("admin", owner="other")
    headers = service.token("admin")
    assert service.client.get("/api/v1/me", headers=headers).status_code == 200
    for token in service.store.tokens.list():
        if token.owner == "ada":
            service.store.tokens.revoke(token.id)
    assert service.client.get("/api/v1/me", headers=headers).status_code == 401


def test_the_cookie_stands_for_the_token_and_is_out_of_reach_of_scripts(service: Running) -> None:
    secret = service.token("submit")["Authorization"].removeprefix("Bearer ")
    answer = service.client.post("/api/v1/session", json={"token": secret})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie
    assert service.client.get("/api/v1/me").json()["owner"] == "ada"
    assert service.client.delete("/api/v1/session").status_code == 204
    assert service.client.get("/api/v1/me").status_code == 401


def test_over_https_the_cookie_is_secure(service: Running) -> None:
    secret = service.token("submit")["Authorization"].removeprefix("Bearer ")
    answer = service.client.post("https://127.0.0.1:8000/api/v1/session", json={"token": secret})
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:9999", "http://[::"])
def test_what_another_sites_page_sends_with_our_cookie_is_refused(service: Running, origin: str | None) -> None:
    secret = service.token("submit")["Authorization"].removeprefix("Bearer ")
    headers = {"Cookie": f"{COOKIE}={secret}", **({"Origin": origin} if origin else {})}
    assert service.client.post("/api/v1/checks", json={}, headers=headers).status_code == 403
    assert service.client.post("/api/v1/checks", json={"budget": "x"}, headers={**headers, "Origin": HERE}).is_success


def test_a_foreign_page_cannot_use_an_open_service(service: Running) -> None:
    post = service.client.post
    assert post("/api/v1/checks", json={}, headers={"Origin": "https://evil.example"}).status_code == 403
    # Without a preflight a browser sends no JSON.
    assert post("/api/v1/searches", content="{}", headers={"Content-Type": "text/plain"}).status_code == 415
    # A name that its owner has pointed at this machine.
    assert service.client.get("/api/v1/me", headers={"Host": "evil.example:8000"}).status_code == 403
    assert service.client.get("/api/studies", headers={"Host": "evil.example:8000"}).status_code == 403
    assert service.client.get("/api/v1/me", headers={"Host": "localhost:8000"}).status_code == 200


def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(service: Running) -> None:
    right = service.token("read")
    wrong = {"Authorization": "Bearer apt_" + "x" * 43}
    answers = [service.client.get("/api/v1/me", headers=wrong) for _ in range(20)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 10
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
    assert service.client.post("/api/v1/session", json={"token": "apt_wrong"}).status_code == 429
    assert service.client.get("/api/v1/me", headers=right).status_code == 200


def test_only_who_submitted_a_search_or_an_admin_may_change_it(service: Running) -> None:
    search = finish(service.store)
    other, admin = service.token("submit", owner="bob"), service.token("admin", owner="root")
    for what in ("cancel", "resume"):
        path = f"/api/v1/searches/{search.id}/{what}"
        assert service.client.post(path, headers=other).status_code == 403
        assert service.client.post(path, headers=admin).status_code == 202
        assert service.client.post(path.replace(what, "cancel"), headers=service.token("submit")).status_code == 202


@pytest.mark.parametrize("path", ["/", "/ui/nothing.js", "/api/v1/me", "/nothing", "/healthz"])
def test_every_answer_has_the_headers_that_keep_a_browser_safe(service: Running, path: str) -> None:
    headers = service.client.get(path).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert len(headers["X-Request-ID"]) == 12


@pytest.mark.parametrize(
    ("path", "methods"),
    [("session", "DELETE, POST"), ("uploads", "GET, POST"), ("searches", "GET, POST"), ("me", "GET")],
)
def test_a_method_that_is_not_taken_is_told_which_are(service: Running, path: str, methods: str) -> None:
    answer = service.client.put(f"/api/v1/{path}")
    assert answer.status_code == 405 and answer.headers["allow"] == methods
