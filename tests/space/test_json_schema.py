"""The JSON Schema by which editors complete a space's file and check it."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

import search_spaces
from autopeft.geometry import SITE_NAMES
from autopeft.modules import MODULE_TYPES
from autopeft.space.schema import SpaceDocument, json_schema

ROOT = Path(search_spaces.__file__).parent
WRITTEN = Path(__file__).parents[2] / "docs" / "space.schema.json"
SHIPPED = sorted(ROOT.rglob("*.yaml"))
GOOD = {"schema": 1, "summary": "mine", "modules": {"lora": {"sites": ["ffn.in"], "size": [4]}}}


def check(document):
    jsonschema.Draft202012Validator(json_schema()).validate(document)


def lora(**changes):
    return {**GOOD, "modules": {"lora": {**GOOD["modules"]["lora"], **changes}}}


def test_the_file_is_what_the_code_says():
    remedy = "write json.dumps(json_schema(), indent=2) and a line break to docs/space.schema.json"
    assert WRITTEN.read_text() == json.dumps(json_schema(), indent=2) + "\n", remedy


def test_it_is_a_schema_with_a_title_and_words_for_every_key():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "AutoPEFT search space"
    for name in ("Module", "Sizes", "Groups", "Allocation", "Constraints", "Params"):
        part = schema["$defs"][name]
        assert part["description"]
        if name != "Params":
            assert all(key.get("description") for key in part["properties"].values()), name
    assert all(key["description"] for key in schema["properties"].values())
    assert "``" not in json.dumps(schema) and ":class:" not in json.dumps(schema)


def test_it_names_every_module_type_and_site():
    module = json_schema()["$defs"]["Module"]["properties"]
    assert module["type"]["anyOf"][0]["enum"] == list(MODULE_TYPES.names)
    assert module["sites"]["anyOf"][0]["items"]["enum"] == list(SITE_NAMES)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid(path):
    check(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "document",
    [
        {**GOOD, "schema": 2},
        {**GOOD, "modules": {}},
        {**GOOD, "layer": "mask"},
        {**GOOD, "layers": "masks"},
        {**GOOD, "budget": "0.5"},
        {**GOOD, "budget": 0},
        {**GOOD, "groups": {"pattern": "spindel"}},
        {**GOOD, "quantisation": ["nf8"]},
        {**GOOD, "constraints": {"forbid": [{}]}},
        lora(sites=["fnn"]),
        lora(sites={"choose": ["ffn.in"]}),
        lora(size=[0]),
        lora(size=8),
        lora(type="lroa"),
        lora(gate="always"),
        lora(options={"alpha": []}),
    ],
)
def test_what_is_refused_for_its_words_is_not_valid(document):
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_a_document_that_is_read_and_written_again_is_valid():
    for path in SHIPPED:
        document = SpaceDocument.model_validate(yaml.safe_load(path.read_text()))
        check(document.model_dump(mode="json", by_alias=True, exclude_unset=True))
