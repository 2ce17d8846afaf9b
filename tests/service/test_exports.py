"""Winners taken away over REST."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import yaml

from autopeft.recipe import read_recipe
from autopeft.store import SearchRecord
from tests.service.conftest import Running, finish


def test_the_recipe_is_a_file_that_loads(service: Running, done: SearchRecord, tmp_path: Path) -> None:
    answer = service.client.get(f"/api/v1/searches/{done.id}/recipe")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="reviews-2-recipe.yaml"'
    path = tmp_path / "recipe.yaml"
    path.write_bytes(answer.content)
    recipe = read_recipe(path)
    assert recipe.search.trial == 2 and recipe.scores.confirmed and recipe.scores.mean == pytest.approx(0.61)


@pytest.mark.parametrize(("pick", "trial"), [("best", 2), ("smallest", 1), ("4", 4), ("params<=2000", 1)])
def test_any_pick_is_exported(service: Running, done: SearchRecord, pick: str, trial: int) -> None:
    answer = service.client.get(f"/api/v1/searches/{done.id}/recipe", params={"pick": pick})
    assert answer.status_code == 200, answer.text
    assert yaml.safe_load(answer.content)["search"]["trial"] == trial


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"pick": "nix"}, 422),
        ({"pick": "99"}, 404),
        ({"pick": "5"}, 404),
        ({"pick": "params<=1"}, 422),
        ({"format": "nix"}, 422),
        ({"format": "../recipe"}, 422),
    ],
)
def test_what_cannot_be_picked_or_written_is_refused(
    service: Running, done: SearchRecord, query: dict[str, str], status: int
) -> None:
    assert service.client.get(f"/api/v1/searches/{done.id}/recipe", params=query).status_code == status


def test_several_files_come_as_an_archive(service: Running, done: SearchRecord) -> None:
    answer = service.client.get(f"/api/v1/searches/{done.id}/recipe?format=script")
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/zip":
        assert zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
        assert answer.headers["content-disposition"].endswith('.zip"')


def test_a_lossy_export_is_refused_with_each_loss(service: Running, done: SearchRecord) -> None:
    formats = service.client.get(f"/api/v1/searches/{done.id}/exports").json()
    assert formats["pick"] == 2
    lossy = [one for one in formats["formats"] if not one["lossless"]]
    assert lossy and {"recipe", "peft"} & {one["name"] for one in formats["formats"] if one["lossless"]}
    answer = service.client.get(f"/api/v1/searches/{done.id}/recipe?format={lossy[0]['name']}")
    assert answer.status_code == 409
    assert answer.json()["losses"] == lossy[0]["losses"] != []


def test_plots_are_served_so_that_their_scripts_reach_nothing_else(service: Running, done: SearchRecord) -> None:
    png = service.client.get(f"/api/v1/searches/{done.id}/plot")
    assert png.headers["content-type"] == "image/png" and png.content.startswith(b"\x89PNG")
    html = service.client.get(f"/api/v1/searches/{done.id}/plot?format=html")
    assert html.headers["content-type"].startswith("text/html")
    assert html.headers["content-security-policy"].startswith("sandbox")
    assert service.client.get(f"/api/v1/searches/{done.id}/plot?format=svg").status_code == 422


def test_a_name_is_no_markup_in_a_plot(service: Running) -> None:
    name = "<script>alert(1)</script>"
    record = finish(service.store, name)
    html = service.client.get(f"/api/v1/searches/{record.id}/plot?format=html").text
    assert name not in html


def test_a_recipe_names_an_upload_by_its_id(service: Running) -> None:
    upload = service.upload().json()
    path = service.settings.home / "uploads" / f"{upload['id']}.csv"
    record = finish(service.store, task=str(path))
    for one in service.client.get(f"/api/v1/searches/{record.id}/exports").json()["formats"]:
        answer = service.client.get(f"/api/v1/searches/{record.id}/recipe?format={one['name']}&allow_lossy=true")
        assert str(service.settings.home).encode() not in answer.content, one["name"]
    recipe = yaml.safe_load(service.client.get(f"/api/v1/searches/{record.id}/recipe").content)
    assert recipe["task"]["name"] == upload["task"]


def test_a_search_without_a_score_has_nothing_to_export(service: Running) -> None:
    made = service.client.post("/api/v1/searches", json={"budget": 3, "name": "new"})
    assert made.status_code == 202
    for path in ("recipe", "exports", "plot"):
        answer = service.client.get(f"/api/v1/searches/new/{path}")
        assert answer.status_code == 422 and json.loads(answer.text)["detail"], path
