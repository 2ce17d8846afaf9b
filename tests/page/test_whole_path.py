"""The way of a new user, with a real search: from the open page to a downloaded recipe."""

import re

import pytest
import yaml
from playwright.sync_api import expect

from tests.page.conftest import end, serve, wait_for

MINUTES = 60_000
WORDS = {"rain": ("wet cloud storm", "umbrella drizzle grey"), "sun": ("bright warm beach", "blue heat light")}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "weather.csv"
    rows = [f"{WORDS[label][i % 2]} {i},{label}" for i in range(60) for label in WORDS]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.fixture
def own_address(browser, tmp_path):
    """A service with a controller, over a new and empty store."""
    process = serve(tmp_path / "home")
    yield wait_for(process)
    end(process)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_new_user_submits_a_table_watches_it_to_its_end_and_takes_the_recipe_away(
    watched, own_address, table, tmp_path
):
    page = watched(own_address)
    page.goto("/")
    page.get_by_role("link", name="Start the first one").click()
    page.get_by_label("Name").fill("weather")
    page.get_by_label(re.compile("Or upload a table")).set_input_files(table)
    expect(page.get_by_label("Task", exact=True)).to_have_value(re.compile("^upload:u-"))
    page.get_by_label("Search space").fill("lora")
    page.get_by_label("Budget", exact=True).fill("3")
    page.get_by_text("How to search", exact=True).click()
    page.get_by_label("Sampler").select_option("random")
    page.get_by_label("Where trials run").select_option("inline")
    page.get_by_label("Seeds of the confirmation").fill("0")
    page.get_by_label("Train hand-made baselines first").uncheck()
    page.get_by_label("Training rows of a trial").fill("24")
    page.get_by_label("Passes over them").fill("1")
    expect(page.get_by_text("Ready to start.")).to_be_visible(timeout=MINUTES)
    page.get_by_role("button", name="Start the search").click()
    expect(page.get_by_role("heading", level=1, name="weather")).to_be_visible()
    expect(page.locator(".lead .badge")).to_have_text(re.compile("done"), timeout=8 * MINUTES)
    expect(page.locator(".plot .mark.front[data-trial]").first).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("button", name="Download as recipe").click()
    download.value.save_as(tmp_path / "recipe.yaml")
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert recipe["search"]["name"] == "weather"
    assert recipe["architecture"]["placements"]

    page.get_by_role("link", name="Optuna dashboard").last.click()
    page.wait_for_url(re.compile("/dashboard/studies/"))
    expect(page.get_by_text("weather: accuracy against size")).to_be_visible(timeout=MINUTES)
