"""docs/spaces.md: every example in it is a whole file that runs, and has the dimensions that the text names."""

import random
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from autopeft.baselines import preset
from autopeft.geometry import SITE_NAMES
from autopeft.modules import MODULE_TYPES
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.space import load_document, load_space, preset_names, space_names
from autopeft.space.grouping import PATTERNS, group_sizes
from autopeft.space.load import PRESET
from autopeft.space.schema import SpaceDocument, json_schema
from tests.space.making import BERT_PARAMETERS, bert

TEXT = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n\nDimensions: (.*?)\n\n", TEXT, re.DOTALL)
MINILM = bert(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
MINILM_PARAMETERS = 22_713_216


def rows(first):
    """The rows of the table whose first heading is this, as lists of cells."""
    table = TEXT[TEXT.index(f"| {first} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]


def test_every_example_names_its_dimensions():
    assert len(EXAMPLES) == TEXT.count("```yaml") >= 14


@pytest.mark.parametrize(
    ("example", "named"), EXAMPLES, ids=[yaml.safe_load(example)["summary"] for example, _ in EXAMPLES]
)
def test_an_example_is_a_whole_file_that_runs(tmp_path, example, named):
    path = tmp_path / "example.yaml"
    path.write_text(example)
    jsonschema.validate(
        SpaceDocument.model_dump(load_document(str(path)), by_alias=True, exclude_unset=True, mode="json"),
        json_schema(),
    )
    space = load_space(str(path), MINILM, MINILM_PARAMETERS)
    names = {dimension.name for dimension in space.dimensions}
    mentioned = re.findall(r"`([^`]+)`", named)
    assert mentioned and set(mentioned) <= names
    # What is not named itself belongs to one that is.
    stem = re.compile(r"\.(on|size|tune)\.\S+|layers\.\d\d")
    assert {stem.sub(r".\1", name) for name in names} == {stem.sub(r".\1", name) for name in mentioned}
    rng = random.Random(0)
    for _ in range(30):
        _, architecture = space.sample(rng)
        assert normalise(architecture, MINILM) == architecture and architecture.placements
        if space.budget:
            assert abs(count_parameters(architecture, MINILM) / space.budget - 1) <= 0.02


def test_every_key_is_explained():
    explained = {name for cell, *_ in rows("key") for name in re.findall(r"`(\w+)`", cell)}
    assert explained == {field.alias or name for name, field in SpaceDocument.model_fields.items()}


def test_every_site_is_explained_with_the_module_types_that_go_there():
    geometry = bert()
    for cell, _, types in rows("site"):
        name = re.match(r"`([\w.]+)`", cell)[1]
        kind = next(
            site.kind for site in geometry.sites if site.name in (name, "norm.ffn" if "norm" in name else name)
        )
        assert set(types.split(", ")) == {n for n in MODULE_TYPES.names if kind in MODULE_TYPES.get(n).kinds}
    table = TEXT[TEXT.index("| site |") :]
    for site in SITE_NAMES:
        assert site.startswith("cross_attention") or f"`{site}`" in table or f"`.{site.partition('.')[2]}`" in table


def test_the_patterns_are_as_the_code_makes_them():
    found = {re.sub("`", "", pattern): sizes for pattern, _, sizes in rows("pattern")}
    assert found == {pattern: ", ".join(map(str, group_sizes(12, 4, pattern))) for pattern in PATTERNS}


def test_every_shipped_space_is_listed_with_its_source():
    assert {(name.strip("`"), source) for name, _, source in rows("space")} == {
        (name, load_document(name).source) for name in space_names()
    }


def test_every_preset_is_listed_with_its_source_and_parameters():
    listed = {name.strip("`"): (params, source) for name, _, params, source in rows("preset")}
    assert listed.keys() == set(preset_names())
    for name, (params, source) in listed.items():
        assert load_document(PRESET + name).source.endswith(source)
        assert params == f"{count_parameters(preset(name, bert(), BERT_PARAMETERS), bert()):,}"
