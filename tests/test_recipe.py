"""Recipes: written and read back exactly, strict about what people write, and documented."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st
from pydantic import BaseModel

from autopeft.answer import Row
from autopeft.architecture import Architecture, Placement
from autopeft.documents import parse
from autopeft.errors import InvalidInput
from autopeft.messages import SearchSpec, TaskSpec
from autopeft.recipe import _MIGRATIONS, SCHEMA, Recipe, RecipeBaseline, dump_recipe, read_recipe, write_recipe
from autopeft.store import SearchRecord
from autopeft.trained_files import TrainedFacts
from autopeft.winner import make_recipe as recipe_of_row

FIRST = Path(__file__).parent / "recipe_1.yaml"
DOCUMENT = Path(__file__).parents[1] / "docs" / "recipe.md"


def example():
    text = re.search(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]
    return yaml.safe_load(text)


@pytest.fixture
def recipe():
    return Recipe.model_validate(example())


def words(**alphabet):
    return st.text(st.characters(exclude_categories=["Cs"], **alphabet), max_size=20)


PLACEMENTS = st.builds(
    Placement,
    module=st.sampled_from(["lora", "prefix", "ia3"]),
    site=st.sampled_from(["attention.query", "ffn"]),
    layer=st.integers(0, 30),
    size=st.integers(0, 512),
    options=st.sampled_from([(), (("alpha", 1e-7),), (("bias", True), ("alpha", 3.5))]),
)
ARCHITECTURES = st.builds(
    Architecture,
    placements=st.lists(PLACEMENTS, unique_by=lambda p: p.key, max_size=20).map(tuple),
    training=st.sampled_from([(), (("learning_rate", 1e-05),)]),
    quantisation=st.sampled_from(["none", "nf4"]),
)


@hypothesis.given(ARCHITECTURES, st.lists(words(), min_size=2, max_size=4), words(), st.floats(0, 1))
def test_what_is_written_is_read_back_exactly(tmp_path_factory, architecture, labels, name, mean):
    document = example()
    document["architecture"] = architecture.to_dict()
    document["task"]["labels"] = labels
    document["name"] = name
    document["scores"]["mean"] = mean
    recipe = Recipe.model_validate(document)
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    write_recipe(recipe, path)
    assert read_recipe(path) == recipe
    assert read_recipe(path).architecture == architecture


def test_the_file_tells_a_person_what_it_is_and_how_to_train_it(recipe, tmp_path):
    write_recipe(recipe, tmp_path / "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    assert text.startswith("# A recipe of AutoPEFT")
    assert "autopeft train mine.yaml" in text
    keys = [line.partition(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert keys[:2] == ["schema", "name"]
    assert keys.index("base_model") < keys.index("task") < keys.index("architecture") < keys.index("versions")
    assert "    layers: [2, 3, 4, 5]\n" in text


def test_a_newer_schema_is_refused_with_the_advice_to_upgrade(recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe).replace("schema: 2", "schema: 3\nnovelty: true"))
    with pytest.raises(InvalidInput, match=r"recipe.yaml: schema = 3: newer than AutoPEFT \d.*upgrade") as caught:
        read_recipe(path)
    assert len(caught.value.problems) == 1


def test_a_recipe_of_the_first_schema_is_read_and_its_migration_told(recipe, caplog):
    old = read_recipe(FIRST)
    assert caplog.messages == ["recipe_1.yaml has schema 1, and is read as schema 2"]
    assert old == recipe.model_copy(update={"baselines": ()})
    assert yaml.safe_load(dump_recipe(old))["schema"] == 2


def test_mistakes_in_an_older_recipe_are_named_as_in_any(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(FIRST.read_text().replace("seeds: [0, 1, 2]", "sedes: [0, 1, 2]"))
    with pytest.raises(InvalidInput) as caught:
        read_recipe(path)
    assert [problem.field for problem in caught.value.problems] == ["recipe.yaml: seeds", "recipe.yaml: sedes"]


@pytest.mark.parametrize("schema", ["0", "-1", "true", "'1'", "1.5", "null"])
def test_a_schema_that_there_never_was_is_a_mistake(schema, recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe).replace("schema: 2", f"schema: {schema}"))
    with pytest.raises(InvalidInput, match=r"recipe.yaml: schema.*must be 2"):
        read_recipe(path)


def test_every_older_schema_has_a_way_to_this_one():
    assert sorted(_MIGRATIONS) == list(range(1, SCHEMA))


def test_every_mistake_is_named_with_its_path_and_the_nearest_key(recipe, tmp_path):
    document = yaml.safe_load(dump_recipe(recipe))
    document["base_modle"] = document.pop("base_model")
    document["training"]["settings"]["batch_size"] = 0
    document["architecture"]["placements"][0]["layers"] = 3
    document["task"]["kind"] = "ranking"
    del document["schema"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInput) as caught:
        read_recipe(tmp_path / "recipe.yaml")
    told = str(caught.value)
    assert "base_modle: unknown key; did you mean base_model?" in told
    for field in ("schema: missing", "base_model: missing", "training.settings.batch_size = 0", "task.kind"):
        assert f"recipe.yaml: {field}" in told
    assert "architecture: layers must be a list" in told


@pytest.mark.parametrize("wrong", [5, "lora", [1], {"placements": 5}, {"placements": [5]}, {"training": [1]}])
def test_an_architecture_that_is_none_is_a_problem_and_no_crash(recipe, wrong):
    with pytest.raises(InvalidInput, match="recipe: architecture"):
        parse(Recipe, {**example(), "architecture": wrong}, "recipe")


def test_missing_files_folders_and_other_documents_are_bad_input(tmp_path):
    with pytest.raises(InvalidInput, match="no such file"):
        read_recipe(tmp_path / "recipe.yaml")
    with pytest.raises(InvalidInput, match="a folder; give the path of the recipe.yaml in it"):
        read_recipe(tmp_path)
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InvalidInput, match="mapping"):
        read_recipe(tmp_path / "list.yaml")


def test_a_recipe_with_a_size_for_every_place_of_a_large_model_can_be_read(recipe, tmp_path):
    sites = ["query", "key", "value", "output"]
    placements = [
        Placement("lora", f"attention.{s}", i, 4 * i + j + 1) for i in range(200) for j, s in enumerate(sites)
    ]
    large = recipe.model_copy(update={"architecture": Architecture(tuple(placements))})
    write_recipe(large, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == large


def test_the_document_names_every_key():
    text = DOCUMENT.read_text()
    missing = [
        name for model in (Recipe, RecipeBaseline, TrainedFacts) for name in keys_of(model) if f"`{name}`" not in text
    ]
    assert missing == []


def keys_of(model):
    for name, field in model.model_fields.items():
        yield field.serialization_alias or name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation)


def test_the_documents_example_is_a_recipe_written_as_recipes_are(recipe):
    assert dump_recipe(Recipe.model_validate(yaml.safe_load(dump_recipe(recipe)))) == dump_recipe(recipe)
    assert list(example()) == list(yaml.safe_load(dump_recipe(recipe)))


def test_a_task_and_its_model_are_found_again(recipe):
    assert recipe.task.spec == TaskSpec(
        name="/data/reviews.csv", text=("review",), label="stars", metric="accuracy", max_length=128
    )
    assert recipe.base_model.address == "minilm"
    hub = {**example()["base_model"], "name": "org/model@main", "location": "hub", "hash": "f" * 40}
    pinned = Recipe.model_validate({**example(), "base_model": hub})
    assert pinned.base_model.address == f"org/model@{'f' * 40}"


def record(model, model_hash, **spec):
    facts = {
        "model_hash": model_hash,
        "task_hash": "ab" * 8,
        "kind": "classification",
        "labels": ["no", "yes"],
        "metric": "matthews",
        "rows": {"train": 10, "holdout": 3, "validation": 4, "test": 5},
        "base_parameters": 2000,
        "versions": {"torch": "2.13.0"},
    }
    asked = SearchSpec(model=model, task=TaskSpec(name="/data/x.csv"), confirm=3, seed=7, **spec)
    return SearchRecord("s-1", "fox", asked, facts, "done", "", 0.0, 1.0, False, None, 1)


def row(**changes):
    architecture = Architecture((Placement("lora", "attention.query", 1, 4),), quantisation="nf4")
    values = {"params": 20, "params_percent": 1.0, "score": 0.5, "score_std": 0.1, "seeds": 3, "confirmed": True}
    values["run_seeds"] = (0, 1, 2)
    return Row(trial=12, name="x", architecture=architecture, baseline=False, seconds=1.0, **{**values, **changes})


def test_a_confirmed_row_becomes_a_recipe(tmp_path):
    recipe = recipe_of_row(record("minilm", "0123456789abcdef"), row())
    assert (recipe.name, recipe.seeds, recipe.scores.split) == ("fox-12", (0, 1, 2), "validation")
    assert (recipe.task.metric, recipe.scores.metric) == ("matthews", "matthews")
    assert recipe.architecture.quantisation == "nf4"
    assert (recipe.base_model.location, recipe.base_model.revision) == ("bundled", None)
    assert recipe.training.fidelity == SearchSpec().full
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_recipe_has_the_baselines_whose_scores_compare_with_its_own(tmp_path):
    others = [
        replace(row(), trial=1, name="LoRA", params=7, score=0.4, score_std=None, seeds=1),
        replace(row(), trial=2, name="of a proxy", confirmed=False),
    ]
    recipe = recipe_of_row(record("minilm", "0123456789abcdef"), row(), others)
    assert [b.model_dump() for b in recipe.baselines] == [
        {"name": "LoRA", "params": 7, "mean": 0.4, "std": None, "seeds": 1}
    ]
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_proxys_row_says_that_it_is_one():
    search = record("/models/mine", "0123456789abcdef")
    recipe = recipe_of_row(search, row(confirmed=False, seeds=1, score_std=None))
    assert recipe.seeds == (search.spec.proxy_seed(row().architecture),)
    assert (recipe.scores.split, recipe.scores.confirmed) == ("holdout", False)
    assert recipe.base_model.location == "folder"


def test_a_hub_model_is_kept_at_its_commit():
    model = recipe_of_row(record("org/model@v1", "c" * 40), row()).base_model
    assert (model.location, model.revision, model.address) == ("hub", "v1", f"org/model@{'c' * 40}")


def test_reading_a_recipe_needs_no_torch():
    code = "import sys, autopeft.recipe; assert not {'torch', 'transformers', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
