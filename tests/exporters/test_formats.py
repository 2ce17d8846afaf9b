"""The contract of export formats, over every one that is registered."""

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.errors import InvalidInput, LossyExport
from autopeft.exporters import EXPORTERS, Exporter, export
from autopeft.messages import TaskSpec
from autopeft.recipe import read_recipe

LORA = Architecture((Placement("lora", "attention.query", 1, 4),))


@pytest.fixture
def recipe(make_recipe):
    return make_recipe("minilm", TaskSpec(name="docstrings"), LORA)


@pytest.mark.parametrize("name", EXPORTERS.names)
def test_a_format_says_what_it_is_and_writes_what_it_says(name, recipe, tmp_path):
    exporter = EXPORTERS.get(name)
    assert isinstance(exporter, Exporter) and exporter.summary
    out = tmp_path / "new" / "folder"
    if exporter.losses(recipe):
        with pytest.raises(LossyExport):
            export(recipe, name, None, out)
        assert not out.exists()
        return
    files = export(recipe, name, None, out)
    assert files and sorted(files) == sorted(out.iterdir())
    before = {file: file.read_bytes() for file in files}
    assert export(recipe, name, None, out) == files
    assert {file: file.read_bytes() for file in files} == before


def test_the_recipe_itself_is_a_format_that_holds_everything(recipe, tmp_path):
    (file,) = export(recipe, "recipe", None, tmp_path)
    assert file.name == "recipe.yaml"
    assert read_recipe(file) == recipe


def test_a_lossy_export_is_refused_with_every_reason(recipe, tmp_path, monkeypatch):
    wrote = []
    lossy = Exporter("x", lambda _: ("no ranks", "no layers"), lambda *args: wrote.append(args) or [], lossy=True)
    monkeypatch.setattr(type(EXPORTERS), "get", lambda self, name: lossy)
    with pytest.raises(LossyExport, match="no ranks\n- no layers") as caught:
        export(recipe, "x", None, tmp_path)
    assert (caught.value.losses, caught.value.exit_code) == (("no ranks", "no layers"), 7)
    assert not wrote
    assert export(recipe, "x", None, tmp_path, allow_lossy=True) == []
    assert len(wrote) == 1


def test_bad_input_is_refused_before_anything_is_written(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="did you mean recipe"):
        export(recipe, "receipe", None, tmp_path / "out")
    with pytest.raises(InvalidInput, match="a file; give a folder"):
        export(recipe, "recipe", None, tmp_path / "file")
    with pytest.raises(InvalidInput, match="no such file"):
        export(recipe, "peft", tmp_path / "none.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
