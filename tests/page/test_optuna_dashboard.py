"""What Optuna's own dashboard shows of a search: metric names, attributes, notes, and our plots."""

import json
import re

import httpx
import optuna
import pytest
import structlog
from optuna_dashboard import wsgi
from playwright.sync_api import expect

from autopeft.study_notes import FRONT_GRAPH, HISTORY_GRAPH, MOST_TRIALS, write_notes
from autopeft.trial import open_storage

HOSTILE = "x | y <img src=x onerror=alert(1)> **bold** [a](javascript:alert(1)) `code`"


@pytest.fixture(scope="module")
def noted(filled):
    write_notes(filled.store, filled.settings, filled.store.get("reviews"))
    return filled


@pytest.fixture(scope="module")
def study(noted):
    """The study ``reviews`` as the dashboard's application sends it to its page."""
    storage = open_storage(noted.settings.database_url)
    number = storage.get_study_id_from_name("reviews")
    with httpx.Client(transport=httpx.WSGITransport(app=wsgi(storage)), base_url="http://dashboard") as client:
        return client.get(f"/api/studies/{number}", headers={"Accept-Encoding": "identity"}).json()


def test_the_study_is_noted_with_what_was_asked_and_its_front(study, noted):
    note = study["note"]["body"]
    front = noted.store.get("reviews")
    assert "| model | minilm, 22,713,216 parameters |" in note
    assert f"| budget | {front.spec.budget} |" in note
    table = [line for line in note.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(table) >= 8
    assert sum("knee" in line for line in table) == 1
    assert "Hypervolume 0." in note


def test_every_trial_that_ended_is_noted_with_its_drawing(study):
    notes = {trial["number"]: trial["note"]["body"] for trial in study["trials"]}
    assert all(notes.values())
    by_name = {_attribute(trial, "name"): notes[trial["number"]] for trial in study["trials"]}
    assert re.search(r"attention\.query +attention\.value\n +0-5 +8 +8", by_name["LoRA r=8 q,v"])
    failed = [trial for trial in study["trials"] if trial["state"] == "Fail"]
    assert failed and all(_attribute(trial, "reason").split("_")[0] in notes[trial["number"]] for trial in failed)


def test_the_dashboard_has_the_names_of_the_metrics_and_the_attributes_of_each_trial(study):
    assert study["objective_names"] == ["params", "accuracy"]
    complete = [trial for trial in study["trials"] if trial["state"] == "Complete"]
    keys = {attribute["key"] for attribute in complete[0]["user_attrs"]}
    assert {"params", "params_percent", "seconds", "peak_memory", "fingerprint", "name", "summary"} <= keys


def test_our_plots_are_graphs_of_the_study(study):
    graphs = {one["id"]: json.loads(one["graph_object"]) for one in study["plotly_graph_objects"]}
    assert set(graphs) == {FRONT_GRAPH, HISTORY_GRAPH}
    history = graphs[HISTORY_GRAPH]["data"][0]
    assert len(history["x"]) == 34
    assert any(trace.get("name") == "front" for trace in graphs[FRONT_GRAPH]["data"])


def _attribute(trial, key):
    return next(one["value"].strip('"') for one in trial["user_attrs"] if one["key"] == key)


def test_a_name_that_holds_markdown_or_html_is_shown_as_it_is(filled, watched, address):
    work = filled.work(HOSTILE, budget="2", baselines=False, confirm=0)
    work.train(2)
    record = work.end("done", HOSTILE)
    write_notes(filled.store, filled.settings, record)
    page = watched()
    page.goto(f"/api/v1/searches/{record.id}/dashboard")
    page.wait_for_url(re.compile(r"/dashboard/studies/\d+"))
    page.goto(f"{page.url}/note")
    expect(page.get_by_role("heading", name=HOSTILE, exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(f"State done: {re.escape(HOSTILE)}"))).to_be_visible()
    assert page.locator("img[src=x], a[href^=javascript]").count() == 0
    filled.store.delete(record.id)


def test_a_search_that_has_not_started_gets_no_notes_and_no_study(filled):
    write_notes(filled.store, filled.settings, filled.store.get("overnight"))
    assert "overnight" not in optuna.get_all_study_names(open_storage(filled.settings.database_url))


def test_what_goes_wrong_with_notes_is_logged_and_not_raised(filled, monkeypatch):
    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr("autopeft.study_notes.read_answer", fail)
    with structlog.testing.capture_logs() as said:
        write_notes(filled.store, filled.settings, filled.store.get("reviews"))
    assert "no room" in str(said)


def test_a_large_study_has_notes_on_its_best_trials_alone(monkeypatch, filled):
    monkeypatch.setattr("autopeft.study_notes.MOST_TRIALS", 3)
    written = []
    monkeypatch.setattr("optuna_dashboard.save_note", lambda what, body: written.append(what))
    write_notes(filled.store, filled.settings, filled.store.get("small"))
    assert len([one for one in written if isinstance(one, optuna.Trial)]) == 3 < MOST_TRIALS


def test_the_dashboard_shows_note_and_plots_of_the_search_that_the_page_links_to(visit, noted):
    page = visit("/searches/reviews")
    page.get_by_role("link", name="Optuna dashboard").last.click()
    page.wait_for_url(re.compile("/dashboard/studies/"))
    expect(page.get_by_text("reviews: accuracy against size")).to_be_visible()
    expect(page.get_by_text("reviews: hypervolume while searching")).to_be_visible()
    page.goto(f"{page.url}/note")
    expect(page.get_by_role("heading", name="Front and baselines")).to_be_visible()
