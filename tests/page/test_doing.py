"""Doing things: submitting, uploading, watching, cancelling, resuming, signing in; and what goes wrong."""

import json
import re

import pytest
from playwright.sync_api import Page, Route, expect

from autopeft.service.security import COOKIE
from tests.page import stores

FLOWERS = "text,label\n" + "".join(
    f"row {i} {'rose' if i % 2 else 'lily'},{'red' if i % 2 else 'white'}\n" for i in range(40)
)


def sign_in(page: Page, secret: str) -> None:
    page.get_by_label("Token").fill(secret)
    page.keyboard.press("Enter")


def one_page_of_more(route: Route) -> None:
    """Answer with as many searches as the page asks for at once, and say that there are more."""
    found = route.fetch().json()["searches"]
    found += [{**found[-1], "id": f"s-{number}", "name": f"copy {number}"} for number in range(50 - len(found))]
    route.fulfill(json={"searches": found, "next": found[-1]["id"]})


def test_a_running_search_is_shown_as_it_goes_and_comes_to_its_end(hurried, visit, filled):
    work = filled.work("live", budget="12")
    work.train(2)
    page = visit("/searches/live", "live")
    expect(page.get_by_text("2 of 12", exact=True)).to_be_visible()
    work.train(1)
    expect(page.get_by_text("3 of 12", exact=True)).to_be_visible()
    expect(page.locator(".plot .mark[data-trial]")).to_have_count(3)
    work.end("done")
    expect(page.locator(".lead .badge")).to_have_text(re.compile("done"))
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_slow_answer_of_a_search_that_went_on_does_not_hide_its_end(hurried, visit, filled):
    work = filled.work("slow", budget="12")
    work.train(1)
    page, held = visit("/searches/slow", "slow"), []

    def hold(route: Route) -> None:
        held.append((route, route.fetch()))

    page.route(f"**/searches/{work.record.id}", hold, times=1)
    work.train(1)
    while not held:
        page.wait_for_timeout(100)
    work.end("done")
    page.wait_for_timeout(2500)  # long enough for the end to be heard of and asked about
    route, answer = held.pop()
    assert answer.json()["state"] == "running"
    route.fulfill(response=answer)
    page.wait_for_timeout(1000)
    expect(page.locator(".lead .badge")).to_have_text(re.compile("done"))
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_where_there_is_no_event_stream_the_page_asks_again_and_again(hurried, page, filled):
    work = filled.work("polled", budget="12")
    work.train(1)
    page.add_init_script("delete window.EventSource")
    page.goto("/#/searches/polled")
    expect(page.get_by_text("1 of 12", exact=True)).to_be_visible()
    work.train(1)
    expect(page.get_by_text("2 of 12", exact=True)).to_be_visible()
    work.end("cancelled")
    expect(page.locator(".lead .badge")).to_have_text(re.compile("cancelled"))


def test_the_keyboard_and_the_scroll_stay_where_they_are_while_a_search_goes_on(hurried, visit, filled):
    work = filled.work("held", budget="12")
    work.train(3)
    page = visit("/searches/held", "held")
    page.set_viewport_size({"width": 400, "height": 800})
    row = page.get_by_role("region", name="Front by parameters, then the other baselines")
    for name in ("All about it", "Export"):
        button = page.locator(".details").get_by_role("button", name=name)
        button.focus()
        row.evaluate("(frame) => (frame.scrollLeft = 60)")
        finished = work.train(1)
        expect(page.locator(".plot .mark[data-trial]")).to_have_count(finished)
        expect(button).to_be_focused()
        assert row.evaluate("(frame) => frame.scrollLeft") == 60
    take = row.get_by_role("button", name="Export trial 1", exact=True)
    take.focus()
    finished = work.train(1)
    expect(row.locator("tbody tr")).to_have_count(finished)
    expect(take).to_be_focused()

    page.goto("/#/searches")
    frame = page.get_by_role("region", name="Searches, newest first")
    page.route("**/api/v1/searches?*", one_page_of_more)
    more = page.get_by_role("button", name="Show more")
    more.focus()
    frame.evaluate("(frame) => (frame.scrollLeft = 60)")
    finished = work.train(1)
    expect(page.get_by_role("row", name="held")).to_contain_text(f"{finished} of 12")
    expect(more).to_be_focused()
    assert frame.evaluate("(frame) => frame.scrollLeft") == 60
    page.unroute_all(behavior="wait")
    work.end("cancelled")


def test_a_service_that_goes_away_under_a_search_is_told_once_and_no_longer_when_it_is_back(hurried, visit, filled):
    work = filled.work("lost", budget="12")
    work.train(1)
    page = visit("/searches/lost", "lost")
    refused = []
    page.route("**/api/v1/searches/*", lambda route: (refused.append(route), route.abort()))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("this page tries again")
    alert.evaluate("(alert) => (alert.dataset.first = 'yes')")
    before = len(refused)
    while len(refused) < before + 3:
        page.wait_for_timeout(50)
    expect(alert).to_have_count(1)
    expect(alert).to_have_attribute("data-first", "yes")
    page.unroute_all(behavior="wait")
    expect(alert).to_have_count(0)
    work.end("cancelled")


def test_cancelling_asks_first_and_resuming_takes_more_budget(visit, filled):
    filled.work("changing", budget="10").end("interrupted")
    visit("/searches")
    page = visit("/searches/changing", "changing")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Back").click()
    assert filled.store.get("changing").state == "interrupted"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the search").click()
    expect(page.locator(".lead .badge")).to_have_text(re.compile("cancelled"))
    page.get_by_role("button", name="Resume").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("More budget").fill("a lot")
    dialog.get_by_role("button", name="Resume").click()
    expect(dialog.get_by_role("alert")).to_contain_text("trials (40)")
    dialog.get_by_label("More budget").fill("+5")
    dialog.get_by_role("button", name="Resume").click()
    expect(page.locator(".lead .badge")).to_have_text(re.compile("queued"))
    expect(page.locator(".lead")).to_contain_text("15 trials")
    assert filled.store.get("changing").spec.budget == "15"
    page.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", level=1, name="Searches")).to_be_visible()
    expect(dialog).to_have_count(0)


@pytest.mark.parametrize("submission", [stores.SUBMISSION, None])
def test_who_goes_on_with_an_interrupted_search_is_told(visit, filled, submission):
    name = "left" if submission else "typed"
    record = stores.create(filled.store, name, submission)
    stores.Work(filled.store, filled.settings, record).end("interrupted")
    page = visit(f"/searches/{name}", name)
    way = "waits for a controller to go on" if submission else f"stopped; go on with autopeft resume {name}"
    expect(page.get_by_text(f"Interrupted: {way}.")).to_be_visible()
    expect(page.locator(".lead .badge")).to_have_attribute("title", way)
    filled.store.request_cancel(name)


def test_every_problem_of_a_request_stands_beside_its_field_while_it_is_typed(visit):
    page = visit("/new", "New search")
    expect(page.get_by_text("Ready to start.")).to_be_visible()
    units = page.get_by_label("Unit of the budget").locator("option")
    expect(units).to_have_text(["trials", "minutes", "hours", "seconds"])
    page.get_by_label("Budget", exact=True).fill("0")
    page.get_by_label("Most trainable parameters").fill("a lot")
    page.get_by_label("Search space").fill("autopef")
    page.get_by_label("Cap: latency of a batch").fill("soon")
    expect(page.get_by_text("4 problems to mend first.")).to_be_visible()
    for label, remedy in (
        ("Budget", "give trials"),
        ("Most trainable parameters", "give a number"),
        ("Search space", "did you mean autopeft?"),
        ("Cap: latency of a batch", "give an amount"),
    ):
        field = page.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(re.escape(remedy)))
    page.get_by_label("Most trainable parameters").fill("2%")
    expect(page.get_by_text("3 problems to mend first.")).to_be_visible()
    expect(page.get_by_label("Most trainable parameters")).not_to_have_attribute("aria-invalid", "true")


def test_a_problem_in_a_folded_group_unfolds_it(visit):
    page = visit("/new")
    page.get_by_text("How to search", exact=True).click()
    page.get_by_label("Workers").fill("0")
    page.get_by_text("How to search", exact=True).click()
    expect(page.get_by_label("Workers")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Workers")).to_be_visible()


def test_a_file_is_uploaded_and_becomes_the_task_and_the_search_is_submitted(visit, filled):
    page = visit("/new")
    page.get_by_label("Name").fill("flowers")
    upload = page.get_by_label(re.compile("Or upload a table"))
    upload.set_input_files({"name": "flowers.csv", "mimeType": "text/csv", "buffer": FLOWERS.encode()})
    expect(page.get_by_label("Task", exact=True)).to_have_value(re.compile("^upload:u-"))
    page.get_by_label("Budget", exact=True).fill("9")
    page.get_by_label("Most trainable parameters").fill("1%")
    page.get_by_label("Size on disk", exact=True).check()
    page.get_by_text("How to search", exact=True).click()
    page.get_by_label("Sampler").select_option("tpe")
    page.get_by_label("Training rows of a trial").fill("16")
    expect(page.get_by_text("Ready to start.")).to_be_visible()
    expect(page.get_by_role("complementary", name="What will happen")).to_contain_text("red, white")
    page.get_by_role("button", name="Start the search").click()
    expect(page.get_by_role("heading", level=1, name="flowers")).to_be_visible()
    spec = filled.store.get("flowers").spec
    assert (spec.budget, spec.max_params, spec.sampler, spec.proxy.rows) == ("9", "1%", "tpe", 16)
    assert spec.objectives == ("params", "score", "bytes")
    assert spec.proxy.evaluations == type(spec)().proxy.evaluations
    filled.store.request_cancel("flowers")


def test_a_file_that_is_not_what_its_name_says_is_refused_beside_the_field(visit):
    page = visit("/new")
    upload = page.get_by_label(re.compile("Or upload a table"))
    upload.set_input_files({"name": "flowers.csv", "mimeType": "text/csv", "buffer": b"\x80\x04\x95\x00\x01"})
    expect(page.locator(".uploader .wrong")).to_contain_text("not text")
    expect(page.get_by_label("Task", exact=True)).to_have_value("docstrings")


def test_a_name_that_is_taken_is_told_at_the_name(visit):
    page = visit("/new")
    page.get_by_label("Name").fill("reviews")
    expect(page.get_by_label("Name")).to_have_accessible_description(re.compile("taken; choose another"))


def test_a_request_sent_twice_starts_one_search(visit, filled):
    page = visit("/new")
    page.get_by_label("Name").fill("once")
    expect(page.get_by_text("Ready to start.")).to_be_visible()
    page.route("**/api/v1/searches", lambda route: (route.fetch(), route.abort()), times=1)
    page.get_by_role("button", name="Start the search").click()
    expect(page.get_by_text("The service does not answer.")).to_be_visible()
    page.get_by_role("button", name="Start the search").click()
    expect(page.get_by_role("heading", level=1, name="once")).to_be_visible()
    assert [record.name for record in filled.store.list()].count("once") == 1
    filled.store.request_cancel("once")


def test_with_a_token_in_the_store_the_page_asks_for_it(visit, filled):
    token, secret = filled.store.tokens.create("ada", ["submit"])
    try:
        page = visit("/searches", "Sign in")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type("apt_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("does not know that token")
        sign_in(page, secret)
        expect(page.get_by_role("heading", level=1, name="Searches")).to_be_visible()
        expect(page.get_by_text("ada")).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        assert secret not in json.dumps(page.evaluate("[{...localStorage}, {...sessionStorage}]"))
        page.route("**/api/v1/session", lambda route: route.abort(), times=1)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("alert")).to_contain_text("does not answer")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1, name="Sign in")).to_be_visible()
    finally:
        filled.store.tokens.revoke(token.id)


@pytest.mark.parametrize(
    ("route", "touched"),
    [("/searches", None), ("/searches/overnight", None), ("/searches/reviews", "[data-open='1']")],
)
def test_a_token_that_is_revoked_leads_to_the_form_which_is_left_alone(hurried, visit, filled, route, touched):
    kept, _ = filled.store.tokens.create("somebody else", ["read"])
    token, secret = filled.store.tokens.create("ada", ["submit"])
    try:
        page = visit(route, "Sign in")
        sign_in(page, secret)
        expect(page.get_by_text("ada")).to_be_visible()
        expect(page.get_by_role("table").first).to_be_visible()
        filled.store.tokens.revoke(token.id)
        if touched:
            # At once or not at all: the page may have found out by itself, and then there is nothing left to click.
            page.evaluate("(found) => document.querySelectorAll(found).forEach((one) => one.click())", touched)
        expect(page.get_by_role("heading", level=1, name="Sign in")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.type("apt_half")
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(600)
        assert asked == []
        expect(page.get_by_label("Token")).to_have_value("apt_half")
        expect(page.get_by_label("Token")).to_be_focused()
    finally:
        for one in (kept, token):
            filled.store.tokens.revoke(one.id)


def test_a_token_that_may_only_read_is_offered_nothing_else(visit, filled):
    token, secret = filled.store.tokens.create("reader", ["read"])
    try:
        page = visit("/searches/overnight", "Sign in")
        sign_in(page, secret)
        expect(page.get_by_role("heading", level=1, name="overnight")).to_be_visible()
        expect(page.get_by_role("link", name="Compare").last).to_be_visible()
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        page.get_by_role("link", name="New search").click()
        expect(page.get_by_text("may not submit searches")).to_be_visible()
        expect(page.get_by_role("button", name="Start the search")).to_be_disabled()
    finally:
        filled.store.tokens.revoke(token.id)


def test_cancelling_is_offered_to_who_submitted_a_search_and_to_an_admin(page, address, filled):
    given = {("local", "submit"): 1, ("somebody", "submit"): 0, ("somebody", "admin"): 1}
    tokens = {who: filled.store.tokens.create(who[0], [who[1]]) for who in given}
    try:
        for who, (_, secret) in tokens.items():
            page.context.add_cookies([{"name": COOKIE, "value": secret, "url": address}])
            page.goto("/#/searches/overnight")
            page.reload()
            expect(page.get_by_role("heading", level=1, name="overnight")).to_be_visible()
            expect(page.get_by_role("button", name="Cancel")).to_have_count(given[who])
    finally:
        for token, _ in tokens.values():
            filled.store.tokens.revoke(token.id)


def test_a_search_that_is_not_there_is_told_so_and_leads_back(visit):
    page = visit("/searches/nowhere", "Not found")
    page.get_by_role("link", name="All searches").click()
    expect(page.get_by_role("heading", level=1, name="Searches")).to_be_visible()


@pytest.mark.parametrize("status", [503, 0])
def test_a_service_that_is_away_is_told_and_asked_again_until_it_answers(page, status):
    def refuse(route):
        if status:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "the database is away"})
        else:
            route.abort()

    page.route("**/api/v1/searches?*", refuse, times=1)
    page.goto("/#/searches")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("heading", level=1, name="Searches")).to_be_visible()


def test_a_list_without_searches_leads_to_the_first_one(page):
    page.route("**/api/v1/searches?*", lambda route: route.fulfill(json={"searches": [], "next": None}))
    page.goto("/#/searches")
    page.get_by_role("link", name="Start the first one").click()
    expect(page.get_by_role("heading", level=1, name="New search")).to_be_visible()
