"""The Grafana dashboard asks for nothing that the service does not measure."""

import json
import re
from pathlib import Path

import pytest

import dashboards
from autopeft.service.metrics import Metrics
from autopeft.store import Store

FILE = Path(dashboards.__path__[0]) / "grafana.json"
LABELS = {
    "autopeft_searches": {"state", "served"},
    "autopeft_trials": {"state"},
    "autopeft_requests_total": {"method", "route", "status"},
    "autopeft_request_seconds_bucket": {"method", "route", "le"},
}
PANELS = json.loads(FILE.read_text(encoding="utf-8"))["panels"]


@pytest.fixture
def exposition(tmp_path):
    """What Prometheus reads from a service that has answered one request and holds one search."""
    metrics = Metrics(Store(f"sqlite:///{tmp_path / 'autopeft.db'}"), lambda: 0)
    metrics.saw("GET", "/api/v1/searches", 200, 0.01)
    return metrics.text().decode()


def test_every_panel_has_a_query_a_place_of_its_own_and_the_data_source(exposition):
    places = set()
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}"
        assert panel["targets"] and all(target["expr"] for target in panel["targets"])
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        squares = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not squares & places, panel["title"]
        places |= squares
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_metric_that_a_panel_asks_for_is_measured(panel, exposition):
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)", exposition, re.MULTILINE))
    for target in panel["targets"]:
        asked = re.findall(r"autopeft_\w+", target["expr"])
        assert asked
        for name in asked:
            if re.search(rf"^{name}[{{ ]", exposition, re.MULTILINE):
                continue
            assert families.get(name) == "gauge", f"{name} is not measured"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_label_that_a_panel_names_is_on_its_metric(panel):
    for target in panel["targets"]:
        allowed = set().union(*(LABELS.get(name, set()) for name in re.findall(r"autopeft_\w+", target["expr"])))
        named = set(re.findall(r"\b(\w+)\s*(?:=~|!=|=(?!=))", target["expr"]))
        grouped = {
            label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in re.split(r",\s*", group)
        }
        shown = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        assert named | grouped | shown <= allowed
