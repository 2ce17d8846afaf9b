"""Looking at searches: the list, one search, its front, trials, failures and exports, and two side by side."""

import json
import re

import httpx
import pytest
from playwright.sync_api import expect


@pytest.fixture
def api(address):
    with httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client:
        yield client


def test_every_search_is_listed_with_its_state_and_progress(visit):
    page = visit("/searches", "Searches")
    row = page.get_by_role("row", name=re.compile("reviews"))
    expect(row).to_contain_text("done")
    expect(row).to_contain_text("34 trials")
    expect(page.get_by_role("row", name=re.compile("overnight"))).to_contain_text("not started")
    expect(page.get_by_role("row", name=re.compile("broken"))).to_contain_text("failed")


def test_the_list_can_be_held_to_one_state(visit):
    page = visit("/searches")
    page.get_by_label("State").select_option("queued")
    expect(page.get_by_role("row", name=re.compile("overnight"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("reviews"))).to_have_count(0)
    page.get_by_label("State").select_option("interrupted")
    expect(page.get_by_text("No search is interrupted.")).to_be_visible()


def test_the_plot_shows_front_baselines_and_other_trials_apart_by_shape_and_name(visit, api):
    page = visit("/searches/reviews", "reviews")
    front = api.get("/searches/reviews/front").json()
    plot = page.get_by_role("figure", name=re.compile("Plot of the front"))
    expect(plot.get_by_role("button", name=re.compile("^(Front|Baseline on the front):"))).to_have_count(
        len(front["front"])
    )
    expect(plot.get_by_role("button", name=re.compile("^Other trial:")).first).to_be_visible()
    outline = "mark => mark.tagName + (mark.getAttribute('d') || '')"
    kinds = ("front", "front-baseline", "dominated")
    shapes = {plot.locator(f".mark.{kind} > :last-child").first.evaluate(outline) for kind in kinds}
    assert len(shapes) == 3


def test_pointing_at_a_mark_draws_its_architecture_with_its_scores(visit, api):
    page = visit("/searches/reviews")
    row = api.get("/searches/reviews/front").json()["front"][3]
    page.locator(f".plot [data-trial='{row['trial']}']").hover()
    details = page.locator(".details")
    expect(details.get_by_role("heading", name=row["name"])).to_be_visible()
    expect(details).to_contain_text(f"{row['params']:,}")
    expect(details).to_contain_text(f"{row['score']:.4f}")
    sizes = details.locator("table.drawing tbody td:not(.absent)")
    placements = row["architecture"]["placements"]
    assert {cell.inner_text() for cell in sizes.all()} == {str(one.get("size") or "■") for one in placements}


def test_a_drawing_has_every_layer_of_the_model_and_says_what_its_sites_are(page, api):
    front = api.get("/searches/small/front").json()
    for row in front["front"] + front["baselines"]:
        for placement in row["architecture"]["placements"]:
            placement["layers"] = [0]
    page.route("**/api/v1/searches/*/front", lambda route: route.fulfill(json=front))
    page.route(
        "**/api/v1/searches/*/trials?*", lambda route: route.fulfill(json={"trials": [], "next": None, "total": 0})
    )
    page.goto("/#/searches/small")
    layers = page.locator(".details table.drawing tbody th")
    expect(layers).to_have_text(["0", f"1–{api.get('/searches/small').json()['layers'] - 1}"])
    drawn = next(row for row in front["front"] if row["trial"] == front["pick"]["knee"])
    for placement in drawn["architecture"]["placements"]:
        expect(page.locator(".details")).to_contain_text(f"={placement['site']}")


def test_the_keyboard_walks_along_the_front_and_opens_a_trial(visit, api):
    page = visit("/searches/reviews")
    front = api.get("/searches/reviews/front").json()
    baselines = {row["trial"] for row in front["baselines"]}
    searched = [row for row in front["front"] if row["trial"] not in baselines]
    page.locator(".plot .mark[tabindex='0']").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    focused = page.locator(".plot .mark:focus")
    expect(focused).to_have_attribute("data-trial", str(searched[0]["trial"]))
    page.keyboard.press("ArrowRight")
    expect(focused).to_have_attribute("data-trial", str(searched[1]["trial"]))
    expect(page.locator(".details").get_by_role("heading", name=searched[1]["name"])).to_be_visible()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=f"Trial {searched[1]['trial']}")
    expect(dialog.get_by_role("region", name="Drawing")).to_contain_text("layer")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(focused).to_have_attribute("data-trial", str(searched[1]["trial"]))


def test_the_front_is_there_as_a_table_too(visit, api):
    page = visit("/searches/reviews")
    front = api.get("/searches/reviews/front").json()
    table = page.get_by_role("region", name="Front by parameters, then the other baselines")
    names = {row["name"] for row in front["front"] + front["baselines"]}
    expect(table.locator("tbody tr")).to_have_count(len({row["trial"] for row in front["front"] + front["baselines"]}))
    assert {cell.inner_text() for cell in table.locator("tbody th").all()} == names


def test_trials_are_sorted_filtered_and_paged_by_the_service(visit, api):
    page = visit("/searches/reviews")
    trials = page.get_by_role("region", name="Trials", exact=True)
    expect(page.get_by_text("1–25 of 34 trials")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("26–34 of 34 trials")).to_be_visible()
    sorter = trials.get_by_role("button", name="Parameters")
    height = sorter.bounding_box()["height"]
    trials.get_by_role("button", name="Parameters").click()
    expect(trials.get_by_role("columnheader", name="Parameters")).to_have_attribute("aria-sort", "ascending")
    assert sorter.bounding_box()["height"] == height
    trials.get_by_role("button", name="Parameters").click()
    expect(trials.get_by_role("columnheader", name="Parameters")).to_have_attribute("aria-sort", "descending")
    largest = api.get("/searches/reviews/trials?sort=params&order=desc&limit=1").json()["trials"][0]
    expect(trials.locator("tbody tr").first).to_contain_text(f"{largest['params']:,}")
    page.locator("#trial-state").select_option("failed")
    failed = api.get("/searches/reviews/trials?state=failed").json()["total"]
    expect(trials.locator("tbody tr")).to_have_count(failed)


def test_failures_are_told_with_their_reasons(visit):
    page = visit("/searches/reviews")
    failures = page.get_by_role("region", name="Failed trials")
    expect(failures).to_contain_text("out of memory")
    expect(failures).to_contain_text("no memory for 1 row at a time")
    expect(page.get_by_text(re.compile(r"trials? without a score: .*it did not fit into memory"))).to_be_visible()


def test_hypervolume_and_budget_over_time_have_a_table_each(visit):
    page = visit("/searches/reviews")
    picture = page.get_by_role("img", name=re.compile("^runs finished: from 1 at .* to 34 at"))
    expect(picture).to_be_visible()
    page.get_by_text("hypervolume as a table").click()
    expect(page.get_by_role("region", name="hypervolume over time").locator("tbody tr").first).to_be_visible()


def test_a_format_that_holds_everything_downloads_at_once(visit, tmp_path):
    page = visit("/searches/reviews")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as recipe").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.suffix == ".yaml"
    assert "placements" in path.read_text()


def test_a_lossy_format_lists_what_it_loses_and_asks_first(visit, api, tmp_path):
    unipelt = next(row for row in api.get("/searches/reviews/front").json()["baselines"] if row["name"] == "UniPELT")
    exports = api.get(f"/searches/reviews/exports?pick={unipelt['trial']}").json()["formats"]
    (lossy,) = [one for one in exports if one["name"] == "adapters"]
    assert lossy["losses"]
    page = visit("/searches/reviews")
    page.get_by_role("button", name=f"Export trial {unipelt['trial']}", exact=True).click()
    expect(page.get_by_text(f"Exports of trial {unipelt['trial']}.")).to_be_visible()
    page.get_by_role("button", name=f"Download as {lossy['name']}").click()
    dialog = page.get_by_role("dialog", name="Download with losses?")
    for loss in lossy["losses"]:
        expect(dialog).to_contain_text(loss)
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download anyway").click()
    download.value.save_as(tmp_path / "file")
    assert (tmp_path / "file").stat().st_size > 0


def test_a_late_answer_never_replaces_what_was_asked_after_it(page, visit, api):
    page.route("**/exports?pick=best", lambda route: None)  # the page asks this by itself, and is not answered yet
    other = api.get("/searches/reviews/front").json()["baselines"][-1]["trial"]
    with page.expect_request("**/exports?pick=best"):
        visit("/searches/reviews")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/exports?pick=best")):
        page.get_by_role("button", name=f"Export trial {other}", exact=True).click()
    expect(page.get_by_text(f"Exports of trial {other}.")).to_be_visible()


def test_a_format_that_cannot_hold_it_at_all_says_why_and_is_not_offered(visit, api):
    formats = api.get("/searches/reviews/exports?pick=best").json()["formats"]
    impossible = next(one for one in formats if not one["writable"])
    answer = api.get(f"/searches/reviews/recipe?format={impossible['name']}&pick=best&allow_lossy=true")
    assert answer.status_code == 409
    page = visit("/searches/reviews")
    entry = page.get_by_role("listitem").filter(has_text=impossible["summary"])
    entry.get_by_text("cannot hold this one").click()
    expect(entry).to_contain_text(impossible["losses"][0])
    expect(entry.get_by_role("button", name="Download")).to_have_count(0)


def test_two_searches_are_compared_in_one_plot_and_by_what_differs(visit):
    page = visit("/searches")
    page.get_by_label("Compare reviews").check()
    page.get_by_label("Compare small").check()
    page.get_by_role("button", name="Compare two").click()
    expect(page.get_by_role("heading", level=1, name="Compare")).to_be_visible()
    plot = page.get_by_role("figure", name=re.compile("Plot of both fronts"))
    expect(plot.locator(".mark.second[data-trial]").first).to_be_visible()
    expect(plot.locator(".mark.front[data-trial]").first).to_be_visible()
    request = page.get_by_role("region", name="What differs in the request")
    expect(request.get_by_role("row", name=re.compile("^space"))).to_contain_text("lora")
    expect(request.get_by_role("row", name=re.compile("^max params"))).to_contain_text("1%")
    expect(request.get_by_role("row", name=re.compile("^model"))).to_have_count(0)
    expect(page.get_by_role("region", name="Results")).to_contain_text("Hypervolume of the baselines")
    page.route("**/api/v1/searches?*", lambda route: route.fulfill(json={"searches": [], "next": None}))
    page.reload()
    expect(page.get_by_label("First search").locator("option:checked")).to_have_text("reviews (done)")
    expect(page.get_by_label("Second search").locator("option:checked")).to_have_text("small (done)")


def test_a_search_without_any_trial_says_what_it_waits_for(visit):
    page = visit("/searches/overnight")
    expect(page.get_by_text("Waiting for a controller that is free.")).to_be_visible()
    expect(page.get_by_text("No trial has a score yet.")).to_be_visible()
    expect(page.get_by_text("There is something to export as soon as a trial has a score.")).to_be_visible()


def test_a_failed_search_says_why(visit):
    page = visit("/searches/broken")
    expect(page.get_by_role("alert")).to_contain_text("no memory for 1 row")


def test_the_whole_request_can_be_read(visit, api):
    page = visit("/searches/small")
    expect(page.get_by_text("Exports of trial")).to_be_visible()  # the last to come; until then things move down
    page.get_by_text("The whole request").click()
    shown = page.get_by_role("region", name="The whole request").inner_text()
    assert json.loads(shown) == api.get("/searches/small").json()["spec"]
