"""The contract of export formats, over every one that is registered."""

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import empty_model
from autopeft.errors import InvalidInput, LossyExport
from autopeft.exporters import EXPORTERS, Exporter, Fit, Opened, export, export_all, fits
from autopeft.messages import TaskSpec
from autopeft.recipe import read_recipe

LORA = Architecture((Placement("lora", "attention.query", 1, 4),))


@pytest.fixture
def recipe(make_recipe):
    return make_recipe("minilm", TaskSpec(name="docstrings"), LORA)


@pytest.mark.parametrize("name", EXPORTERS.names)
def test_a_format_says_what_it_is_and_writes_what_it_says(name, recipe, tmp_path):
    exporter = EXPORTERS.get(name)
    assert isinstance(exporter, Exporter) and exporter.summary and exporter.tool and exporter.usage
    out = tmp_path / "new" / "folder"
    if not exporter.fit(Opened(recipe)).writes(allow_lossy=True):
        with pytest.raises(LossyExport):
            export(recipe, name, None, out, allow_lossy=True)
        assert not out.exists()
        return
    files = export(recipe, name, None, out, allow_lossy=True)
    assert files and sorted(files) == sorted(out.iterdir())
    before = {file: file.read_bytes() for file in files}
    assert export(recipe, name, None, out, allow_lossy=True) == files
    assert {file: file.read_bytes() for file in files} == before


def test_a_dash_in_a_format_name_is_an_underscore_in_its_file():
    assert "llama-factory" in EXPORTERS.names
    assert EXPORTERS.get("llama-factory").tool == "llamafactory 0.9.5"
    with pytest.raises(InvalidInput, match="did you mean llama-factory"):
        EXPORTERS.get("llama_factory")


def test_the_recipe_itself_is_a_format_that_holds_everything(recipe, tmp_path):
    (file,) = export(recipe, "recipe", None, tmp_path)
    assert file.name == "recipe.yaml"
    assert read_recipe(file) == recipe


def test_a_lossy_export_is_refused_with_each_loss(recipe, tmp_path, monkeypatch):
    lossy = Exporter("x", "y", "z", lambda *_: Fit((), ("no ranks", "no layers")), lambda *_: {"file": b"written"})
    monkeypatch.setattr(type(EXPORTERS), "get", lambda self, name: lossy)
    with pytest.raises(LossyExport, match="no ranks\n- no layers\n--allow-lossy writes it") as caught:
        export(recipe, "x", None, tmp_path)
    assert (caught.value.losses, caught.value.exit_code) == (("no ranks", "no layers"), 7)
    assert not list(tmp_path.iterdir())
    (file,) = export(recipe, "x", None, tmp_path, allow_lossy=True)
    assert file.read_bytes() == b"written"


def test_what_cannot_be_written_at_all_is_refused_even_where_losses_are_allowed(recipe, tmp_path, monkeypatch):
    closed = Exporter("x", "y", "z", lambda *_: Fit(("no way",), ("no ranks",)), lambda *_: {"file": b"written"})
    monkeypatch.setattr(type(EXPORTERS), "get", lambda self, name: closed)
    with pytest.raises(LossyExport) as caught:
        export(recipe, "x", None, tmp_path, allow_lossy=True)
    assert caught.value.losses == ("no way", "no ranks")
    assert "--allow-lossy" not in str(caught.value)
    assert not list(tmp_path.iterdir())


MIXED = Architecture((*LORA.placements, Placement("prefix", "attention.kv", 2, 3)))


def test_a_mixed_winner_is_a_recipe_a_script_or_adapters_and_the_others_say_why(make_recipe, tmp_path):
    recipe = make_recipe("minilm", TaskSpec(name="docstrings"), MIXED)
    found = fits(recipe)
    assert {name for name, fit in found.items() if not fit.reasons} == {"recipe", "script", "adapters"}
    for name in ("peft", "axolotl", "llama-factory", "trl"):
        assert any("one method per adapter; this mixes lora and prefix" in reason for reason in found[name].obstacles)


def test_all_formats_at_once_have_a_folder_each_and_a_readme_about_them_all(make_recipe, tmp_path):
    recipe = make_recipe("minilm", TaskSpec(name="docstrings"), MIXED)
    paths = export_all(recipe, None, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "adapters", "recipe", "script"]
    assert set(paths) == {path for path in tmp_path.rglob("*") if path.is_file()}
    readme = (tmp_path / "README.md").read_text()
    for name, exporter in EXPORTERS.all().items():
        assert name in readme and exporter.tool in readme
    assert "autopeft train recipe.yaml" in readme and "python train.py" in readme
    assert "axolotl trains causal language models; minilm (bert) is none" in readme
    for name in ("adapters", "recipe", "script"):
        alone = export(recipe, name, None, tmp_path / "alone" / name)
        assert [(tmp_path / name / file.name).read_bytes() for file in alone] == [file.read_bytes() for file in alone]


def test_all_formats_at_once_write_lossy_ones_where_that_is_allowed(make_recipe, tmp_path):
    bare = Architecture((Placement("serial_adapter", "ffn", 3, 8, (("bias", False),)),))
    recipe = make_recipe("minilm", TaskSpec(name="docstrings"), bare)
    export_all(recipe, None, tmp_path / "strict")
    assert not (tmp_path / "strict" / "adapters").exists()
    assert "392 parameters more" in (tmp_path / "strict" / "README.md").read_text()
    export_all(recipe, None, tmp_path / "lossy", allow_lossy=True)
    assert "392 parameters more" in (tmp_path / "lossy" / "adapters" / "adapter_config.json").read_text()


def test_all_formats_share_one_look_at_the_base_model_and_the_recipe_alone_needs_none(
    make_recipe, tmp_path, monkeypatch
):
    opened = []
    monkeypatch.setattr("autopeft.base_models.empty_model", lambda *model: opened.append(model) or empty_model(*model))
    recipe = make_recipe("minilm", TaskSpec(name="docstrings"), LORA)
    export(recipe, "recipe", None, tmp_path / "alone")
    assert not opened
    export_all(recipe, None, tmp_path / "all")
    assert len(opened) == 1


def test_bad_input_is_refused_before_anything_is_written(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="did you mean recipe"):
        export(recipe, "receipe", None, tmp_path / "out")
    with pytest.raises(InvalidInput, match="a file; give a folder"):
        export(recipe, "recipe", None, tmp_path / "file")
    with pytest.raises(InvalidInput, match="no such file"):
        export(recipe, "peft", tmp_path / "none.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
