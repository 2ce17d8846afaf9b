"""What nobody's name or detail may do to the page, and that everybody can use it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from autopeft.store.trials import TrialEntry

AUDIT = Path(__file__).with_name("audit.js").read_text()
SCRIPTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "</title><script>alert(1)</script>",
    "</textarea><img src=x onerror=alert(1)>",
    "<style>@import 'http://example.org/x.css'</style>",
    "<link rel=stylesheet href=http://example.org/x.css>",
    "${alert(1)}{{constructor.constructor('alert(1)')()}}",
    "<template><img src=x onerror=alert(1)></template>",
)
ROUTES = (
    "/searches",
    "/searches/reviews",
    "/searches/overnight",
    "/new",
    "/compare?a=reviews&b=small",
    "/searches/none",
)
ELEMENTS = (
    "main :is(script, iframe, math, style, link, template, img), [onload], [onerror], [ontoggle], [href^=javascript]"
)


@pytest.fixture(scope="module")
def hostile(filled):
    """A search for each script, with it for its name and detail, and one whose every trial is named and fails so."""
    for script in SCRIPTS:
        filled.work(script, baselines=False).end("failed", script)
    work = filled.work("hostile trials", baselines=False, confirm=0)
    work.train(1)
    (entry,) = filled.store.trials.page(work.record.id, 1)
    for number, script in enumerate(SCRIPTS, 1):
        body = {
            **entry.body,
            "trial": number,
            "name": script,
            "detail": script,
            "reason": script[:32],
            "source": script,
        }
        given = {**vars(entry), "number": number, "name": script, "body": body}
        ends = {"state": "failed", "reason": script[:32], "score": None} if number % 2 else {}
        filled.store.trials.put(work.record.id, work.record.attempt, [TrialEntry(**{**given, **ends})])
    yield work.end("done", SCRIPTS[0])
    for record in filled.store.list():
        if record.name in SCRIPTS:
            filled.store.delete(record.id)


def test_names_and_details_that_hold_scripts_are_text_and_nothing_else(visit, hostile, filled):
    page = visit("/searches")
    for script in SCRIPTS:
        expect(page.get_by_role("link", name=script, exact=True)).to_be_visible()
    assert page.locator(ELEMENTS).count() == 0
    for script in SCRIPTS:
        page.goto(f"/#/searches/{filled.store.get(script).id}")
        expect(page.get_by_role("heading", level=1, name=script, exact=True)).to_be_visible()
        expect(page.get_by_role("alert")).to_have_text(script)
        assert page.locator(ELEMENTS).count() == 0


def test_trials_that_hold_scripts_are_text_in_the_plot_the_tables_and_the_dialog(visit, hostile):
    page = visit("/searches/hostile%20trials")
    expect(page.locator(".plot .mark[data-trial]").first).to_be_visible()
    expect(page.get_by_role("region", name="Failed trials")).to_contain_text(SCRIPTS[0])
    for mark in page.locator(".plot .mark[data-trial]").all():
        mark.dispatch_event("pointerenter")
    page.locator("[data-open='1']").click()
    expect(page.get_by_role("dialog")).to_contain_text(SCRIPTS[0])
    assert page.locator(ELEMENTS).count() == 0


def test_a_link_to_elsewhere_is_never_set(page, address):
    page.goto("/")
    found = page.evaluate(
        """async () => {
            const { h } = await import("/ui/dom.js");
            return ["javascript:alert(1)", "http://example.org/", "//example.org/x", "data:text/html,x", "/dashboard"]
                .map((href) => h("a", { href }, "x").getAttribute("href"));
        }"""
    )
    assert found == [None, None, None, None, "/dashboard"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_a_place_and_enough_contrast(watched, scheme):
    page = watched(color_scheme=scheme, reduced_motion="reduce")
    problems = {}
    for route in ROUTES:
        page.goto(f"/#{route}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
        if route == "/new":
            page.get_by_label("Budget", exact=True).fill("0")
            expect(page.locator("[aria-invalid]")).to_be_visible()
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        problems[route] = page.evaluate(AUDIT)
    assert not any(problems.values()), problems


@pytest.mark.parametrize("width", [400, 640])
def test_no_view_is_wider_than_a_narrow_or_enlarged_screen(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    for route in ROUTES:
        page.goto(f"/#{route}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, route


def test_who_wants_no_motion_gets_none(watched):
    page = watched(reduced_motion="reduce")
    page.goto("/#/searches")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    durations = "[...document.querySelectorAll('*')].map((one) => parseFloat(getComputedStyle(one).animationDuration))"
    assert max(page.evaluate(durations)) < 0.001


def test_the_keyboard_alone_goes_from_the_list_to_a_search_and_on(visit):
    page = visit("/searches", "Searches")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "reviews":
            break
    page.keyboard.press("Enter")
    heading = page.get_by_role("heading", level=1, name="reviews")
    expect(heading).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.plot .mark')"):
            break
    expect(page.locator(".plot .mark:focus")).to_have_accessible_name(re.compile(r"parameters, accuracy 0\.\d{4}"))
    assert page.evaluate("getComputedStyle(document.querySelector('.mark:focus .halo')).strokeWidth") == "3px"


def test_the_page_is_told_apart_by_its_title_and_news_are_read_out(hurried, visit, filled):
    work = filled.work("told", budget="10")
    work.train(1)
    page = visit("/searches/told", "told")
    expect(page).to_have_title("told · AutoPEFT")
    work.train(1)
    expect(page.locator("#announcer")).to_have_text(re.compile(r"told: Searching, \d of 10, best score 0\.\d{4}\."))
    # How far it is is said now and then only: the last of it is still to be said when the search ends.
    work.train(6)
    work.end("done")
    expect(page.locator("#announcer")).to_have_text("told is done.")
    page.wait_for_timeout(1500)
    expect(page.locator("#announcer")).to_have_text("told is done.")
