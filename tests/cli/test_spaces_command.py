"""``autopeft spaces``: the list, and what a space, a preset or a file holds on a model."""

import io
import json
import random
import re

import pytest
from rich.console import Console
from transformers import BertConfig, T5Config

from autopeft.architecture import Architecture, Placement
from autopeft.cli.dimensions import fold
from autopeft.cli.drawing import printable
from autopeft.drawing import draw
from autopeft.geometry import ModelGeometry
from autopeft.space import Choice, Integers, Range, load_space, preset_names, space_names
from autopeft.space.dimensions import switch

SMALL = """
schema: 1
summary: ranks on two sites, with or without BitFit
modules:
  lora: {sites: [attention.query, attention.value], size: [2, 4]}
  bitfit: {sites: [norm.ffn], gate: network}
layers: {top: [1, 2]}
"""
BROKEN = """
schema: 1
summary: two mistakes
modules:
  lora: {sites: [attention.query], size: []}
layers: maks
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


# -- the list ---------------------------------------------------------------------------------------------------------


def test_list_names_the_spaces_and_the_presets_and_how_to_use_them(run):
    printed = run("spaces").out
    assert all(f" {name} " in printed for name in space_names())
    assert all(f" preset:{name} " in printed for name in preset_names())
    assert "--space preset:mam" in printed
    alone = run("spaces", "--presets").out
    assert "preset:mam" in alone and "design_spaces" not in alone
    assert [entry["name"] for entry in run("spaces", "--json").json] == list(space_names())
    listed = run("spaces", "--presets", "--json").json
    assert [entry["name"] for entry in listed] == [f"preset:{name}" for name in preset_names()]


def test_an_option_before_the_sub_command_is_not_lost_in_silence(run, small):
    outcome = run("spaces", "--json", "check", small)
    assert outcome.code == 2 and outcome.out == "" and "options go after check" in outcome.err


# -- show -------------------------------------------------------------------------------------------------------------


def test_show_a_file(run, small, tiny_model):
    outcome = run("spaces", "show", small, "--model", tiny_model)
    assert outcome.code == 0 and outcome.err == ""
    # Two ranks, with or without BitFit, in one or two layers: rank 4 on two sites in both layers is the most.
    lora = 2 * (64 + 64)
    assert "8 points, 8 different architectures" in outcome.out
    assert f"{2 * lora:,} to {2 * (4 * lora + 64):,} parameters" in outcome.out
    assert re.search(r"lora\.size .* 1 .* 2, 4", outcome.out) and re.search(r"bitfit\.on .* off/on", outcome.out)
    assert re.search(r"\nlayer .* attention.query  attention.value\n", outcome.out)


def test_show_as_json(run, small, tiny_model):
    document = run("spaces", "show", small, "--model", tiny_model, "--json").json
    assert document["dimensions"][0] == {"name": "lora.size", "choices": [2, 4], "ordered": True}
    assert document["points"] == document["architectures"] == 8 and document["budget"] is None
    assert document["params"]["least"] < document["params"]["most"]
    assert len(document["samples"]) == 3
    assert run("spaces", "show", small, "--model", tiny_model, "--seed", 1, "--json").json != document
    infinite = run("spaces", "show", "lora", "--model", tiny_model, "--json").json
    assert infinite["points"] is None and infinite["architectures"] is None
    assert {"name": "training.learning_rate", "low": 1e-4, "high": 1e-2, "log": True} in infinite["dimensions"]


def test_show_names_the_presets_that_are_points(run, tiny_model):
    printed = run("spaces", "show", "layerwise", "--model", tiny_model).out
    assert re.search(r"presets that are points of it: .*preset:lora", printed)
    (line,) = re.findall("^size: .*$", run("spaces", "show", "preset:lora", "--model", tiny_model).out, re.MULTILINE)
    assert line == "size: a single point, 4,096 parameters (4.5%)"


def test_show_tells_the_budget(run):
    printed = run("spaces", "show", "design_spaces").out
    assert "113,566 parameters each (0.5%), within 2%" in printed
    assert "adapter.on.g1..g4" in printed


@pytest.mark.parametrize("name", ["autopeft", "design_spaces", "s3delta_m", "unified", "layerwise", "preset:s4"])
def test_show_fits_80_columns_without_colour(run, monkeypatch, tiny_model, name):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    model = ["--model", tiny_model] if name not in ("design_spaces", "preset:s4") else []
    printed = run("spaces", "show", name, *model).out
    assert "\x1b" not in printed and max(map(len, printed.splitlines())) <= 80


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_of_a_good_file(run, small, tiny_model):
    alone = run("spaces", "check", small)
    assert alone.code == 0 and alone.out == f"{small}: good by itself; --model MODEL checks it on a model too\n"
    outcome = run("spaces", "check", small, "--model", tiny_model)
    assert outcome.code == 0 and outcome.out.startswith(f"{small}: good on {tiny_model}: 8 points, 8 different")


@pytest.mark.parametrize("model", [[], ["--model", "minilm"]])
def test_check_lists_every_mistake(run, tmp_path, model):
    path = tmp_path / "broken.yaml"
    path.write_text(BROKEN)
    outcome = run("spaces", "check", path, *model)
    assert outcome.code == 2 and outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: broken.yaml: ") for line in lines)
    assert "modules.lora.size" in lines[0] and "layers = 'maks'" in lines[1]


def test_check_on_a_model_finds_what_that_has_no_place_for(run, tmp_path, tiny_model):
    path = tmp_path / "deep.yaml"
    path.write_text(SMALL.replace("[1, 2]", "[1, 4, 9]").replace("[2, 4]", "[2, 400]"))
    assert run("spaces", "check", path).code == 0
    outcome = run("spaces", "check", path, "--model", tiny_model)
    assert outcome.code == 2 and outcome.out == ""
    assert [line.split(" = ")[1] for line in outcome.err.splitlines()] == [
        "400: beyond the model's width, which is 64",
        "4: the model has 2 layers",
        "9: the model has 2 layers",
    ]


# -- sample -----------------------------------------------------------------------------------------------------------


def test_sample(run, small, tiny_model):
    arguments = ("spaces", "sample", small, "--model", tiny_model, "-n", 4)
    drawn = run(*arguments, "--json").json
    assert len(drawn) == 4
    assert all(
        list(one) == ["fingerprint", "params", "params_percent", "summary", "point", "architecture"] for one in drawn
    )
    assert all(Architecture.from_dict(one["architecture"]).fingerprint == one["fingerprint"] for one in drawn)
    assert all(one["point"].keys() == {"lora.size", "bitfit.on", "layers.top"} for one in drawn)
    assert run(*arguments, "--json").json == drawn != run(*arguments, "--seed", 1, "--json").json
    printed = run(*arguments).out
    assert all(one["fingerprint"] in printed and f"{one['params']:,}" in printed for one in drawn)


def test_sample_names_the_preset(run, tiny_model):
    assert "preset:lora" in run("spaces", "sample", "preset:lora", "--model", tiny_model, "--number", 1).out


@pytest.mark.parametrize("command", ["show", "check", "sample"])
@pytest.mark.parametrize(
    "name, message",
    [
        ("autopef", "space = 'autopef': unknown; did you mean autopeft?"),
        ("preset:mamm", "space preset = 'mamm': unknown; did you mean mam?"),
        ("nowhere.yaml", "space = 'nowhere.yaml': no such file"),
    ],
)
def test_a_wrong_name_is_refused(run, command, name, message):
    outcome = run("spaces", command, name)
    assert outcome.code == 2 and outcome.out == "" and outcome.err.startswith(f"error: {message}")


def test_a_wrong_model_is_refused(run):
    outcome = run("spaces", "show", "lora", "--model", "./nowhere")
    assert outcome.code == 2 and outcome.err == "error: model = './nowhere': no such folder\n"


# -- dimensions in rows -----------------------------------------------------------------------------------------------


def rows(*dimensions):
    return [(row.name, row.count, row.values) for row in fold(dimensions)]


def test_what_differs_in_its_place_alone_shares_a_row():
    gates = [switch(f"lora.on.{layer:02d}.{site}") for layer in range(3) for site in ("attention.query", "ffn.out")]
    assert rows(*gates) == [("lora.on.00..02 × 2 sites", 6, "off/on: attention.query, ffn.out")]
    assert rows(*gates[::2]) == [("lora.on.00..02.attention.query", 3, "off/on")]
    assert rows(*gates, switch("lora.on.02.norm.final"))[1] == ("lora.on.02.norm.final", 1, "off/on")
    assert rows(switch("layers.00"), switch("layers.01"), switch("layers.05")) == [("layers.00..01,05", 3, "off/on")]
    assert rows(switch("a.on.g1"), switch("b.on.g1"), switch("a.on.g2")) == [
        ("a.on.g1..g2", 2, "off/on"),
        ("b.on.g1", 1, "off/on"),
    ]
    assert rows(switch("lora.attention.query"), switch("lora.ffn.in"), switch("lora.on")) == [
        ("lora × 2 sites", 2, "off/on: attention.query, ffn.in"),
        ("lora.on", 1, "off/on"),
    ]


def test_different_values_have_rows_of_their_own():
    sizes = [Choice("lora.size.00", (0, 1)), Choice("lora.size.01", (0, 1)), Choice("lora.size.02", (0, 2))]
    assert rows(*sizes) == [("lora.size.00..01", 2, "off, 1"), ("lora.size.02", 1, "off, 2")]


@pytest.mark.parametrize(
    "dimension, values",
    [
        (Integers("lora.size", 1, 64), "1 to 64, log scale"),
        (Range("training.learning_rate", 1e-4, 1e-2, log=True), "0.0001 to 0.01, log scale"),
        (Range("training.weight_decay", 0.1, 0.5), "0.1 to 0.5"),
        (Choice("training.weight_decay", (0, 0.1)), "0, 0.1"),
        (Choice("layers.first", tuple(range(24))), "0 to 23"),
        (Choice("lora.gate", (False, True)), "off/on"),
        (Choice("lora.gate", (True, False)), "on, off"),
        (Choice("allocation", ("increasing", "uniform")), "increasing, uniform"),
    ],
)
def test_values(dimension, values):
    assert rows(dimension) == [(dimension.name, 1, values)]


# -- the drawing ------------------------------------------------------------------------------------------------------


def bert(layers):
    return ModelGeometry.from_config(BertConfig(num_hidden_layers=layers).to_dict())


def place(module, site, layers, size=0):
    return [Placement(module, site, layer, size) for layer in layers]


def drawn(width, geometry, *placements):
    picture = draw([Architecture(tuple(p for group in placements for p in group))], geometry, width)
    return picture.drawings[0], picture.legend


def test_equal_layers_share_a_row_and_sizes_stand_under_their_sites():
    lines, legend = drawn(
        80, bert(layers=6), place("lora", "attention.query", [0, 1, 4], 16), place("bitfit", "ffn.out", range(6))
    )
    assert lines == [
        "        bitfit    lora",
        "layer   ffn.out   attention.query",
        "  0-1         ■                16",
        "  2-3         ■                 ·",
        "    4         ■                16",
        "    5         ■                 ·",
    ]
    assert legend == ""


def test_sites_have_short_names_where_whole_ones_do_not_fit():
    lines, legend = drawn(
        30, bert(layers=2), place("lora", "attention.query", [0], 8), place("lora", "attention.value", [1], 128)
    )
    assert lines == [
        "        lora",
        "layer   q    v",
        "    0   8    ·",
        "    1   ·  128",
    ]
    assert legend == "q=attention.query, v=attention.value"


def test_columns_that_do_not_fit_follow_below():
    sites = ("attention.query", "attention.key", "attention.value", "attention.output", "ffn.in", "ffn.out")
    lines, _ = drawn(24, bert(layers=1), *(place("lora", site, [0], 8) for site in sites))
    assert lines == [
        "        lora",
        "layer   q  k  v  o  in",
        "    0   8  8  8  8   8",
        "",
        "        lora",
        "layer   out",
        "    0     8",
    ]


@pytest.mark.parametrize("name", space_names())
def test_48_layers_fit_in_80_columns(name):
    geometry = ModelGeometry.from_config(T5Config(num_layers=24, num_decoder_layers=24).to_dict())
    space = load_space(name, geometry, 100_000_000)
    architectures = [space.sample(random.Random(seed))[1] for seed in range(3)]
    picture = draw(architectures, geometry, 80)
    for lines in picture.drawings:
        assert max(map(len, lines)) <= 80
        labels = [line.split()[0] for line in lines if re.match(r" *\d", line)]
        assert labels[0].startswith("0") and labels[-1].endswith("47")


def test_a_site_that_a_layer_lacks_is_blank():
    geometry = ModelGeometry.from_config(T5Config(num_layers=1, num_decoder_layers=1).to_dict())
    lines, _ = drawn(
        80, geometry, place("bitfit", "attention.query", [0]), place("lora", "cross_attention.query", [1], 2)
    )
    assert lines[2:] == ["    0                 ■", f"    1                 ·   {2:>21}"]


def test_a_terminal_without_utf_8_gets_ascii():
    ascii_console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert printable("lora.on.00 × 2 sites: ■ · größe", ascii_console) == "lora.on.00 x 2 sites: x . gr??e"
    utf8_console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert printable("■ ·", utf8_console) == "■ ·"


def test_json_is_pure_ascii_and_whole(run, tiny_model):
    assert json.loads(run("spaces", "sample", "autopeft", "--model", tiny_model, "--json").out.encode("ascii"))
