"""Every shipped space on every family, the space `lora` in detail, and how a definition becomes dimensions."""

import math
import random

import pytest
import yaml
from transformers import AutoConfig

from autopeft.architecture import Placement
from autopeft.errors import InvalidInput, NoFeasibleArchitecture
from autopeft.families import FAMILIES
from autopeft.geometry import SITE_NAMES, ModelGeometry
from autopeft.modules.plan import normalise
from autopeft.space import Choice, Range, SearchSpace, load_document, load_space, space_names
from autopeft.space.schema import SpaceDocument


def geometry_of(family):
    return ModelGeometry.from_config(AutoConfig.for_model(family).to_dict())


def bind(geometry, layers="all", training=None, **modules):
    document = {"schema": 1, "summary": "made up", "modules": modules, "layers": layers, "training": training or {}}
    return SearchSpace("made up", SpaceDocument.model_validate(document), geometry)


BERT = geometry_of("bert")
BASE_PARAMETERS = 109_482_240
ONE = {"sites": ["attention.query"], "size": [4]}


def choice(space, name):
    return next(d for d in space.dimensions if d.name == name)


# -- every space, every family


@pytest.mark.parametrize("name", space_names())
def test_every_space_says_what_it_is_and_where_it_is_from(name):
    document = load_document(name)
    assert 20 <= len(document.summary) <= 120 and not document.summary.endswith(".")
    assert document.source


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("name", space_names())
def test_every_space_binds_to_every_family_with_its_sites_and_all_it_holds_fits_the_module_types(name, family):
    geometry = geometry_of(family)
    if "prefix" in load_document(name).modules and family == "deberta-v2":  # its attention takes no prefix
        with pytest.raises(InvalidInput, match=f"{name}: modules.prefix.sites = 'attention.kv'"):
            load_space(name, geometry, BASE_PARAMETERS)
        return
    space = load_space(name, geometry, BASE_PARAMETERS)
    rng = random.Random(0)
    for _, architecture in (space.sample(rng) for _ in range(20)):
        assert architecture.placements and normalise(architecture, geometry) == architecture
    names = [d.name for d in space.dimensions]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_site_names_are_those_of_the_families(family):
    assert set(geometry_of(family).site_names) <= set(SITE_NAMES)


def test_no_site_name_is_of_no_family():
    gated = ModelGeometry.from_config({**AutoConfig.for_model("t5").to_dict(), "feed_forward_proj": "gated-gelu"})
    assert {s for f in FAMILIES for s in geometry_of(f).site_names} | set(gated.site_names) == set(SITE_NAMES)


# -- lora


LINEARS = ["attention.query", "attention.key", "attention.value", "attention.output", "ffn.in", "ffn.out"]


@pytest.mark.parametrize(
    ("family", "linears"),
    [
        ("bert", LINEARS),
        ("gpt2", ["attention.qkv", "attention.output", "ffn.in", "ffn.out"]),
        ("llama", [*LINEARS[:-1], "ffn.gate", "ffn.out"]),
        ("t5", LINEARS),
    ],
)
def test_lora_chooses_from_the_linears_that_the_model_has(family, linears):
    space = load_space("lora", geometry_of(family))
    chosen = [d.name for d in space.dimensions if d.name.startswith("lora.") and d.choices == (False, True)]
    assert chosen == [f"lora.{site}" for site in linears]


def test_lora_decodes_rank_alpha_linears_layers_and_learning_rate():
    space = load_space("lora", BERT)
    linears = {f"lora.{site}": site in ("attention.query", "ffn.in") for site in LINEARS}
    rest = {"lora.size": 16, "lora.alpha_over_size": 0.5, "layers.first": 3, "layers.last": 5}
    architecture = space.decode({**linears, **rest, "training.learning_rate": 0.002})
    assert set(architecture.placements) == {
        Placement("lora", site, layer, 16, (("alpha", 8.0),))
        for site in ("attention.query", "ffn.in")
        for layer in (3, 4, 5)
    }
    assert architecture.training == (("learning_rate", 0.002),)
    assert space.decode({**linears, **rest, "layers.first": 6, "training.learning_rate": 0.002}) is None
    none = dict.fromkeys(linears, False)
    assert space.decode({**none, **rest, "training.learning_rate": 0.002}) is None


def test_loras_samples_keep_alpha_layers_and_learning_rate_in_their_bounds():
    space, rng = load_space("lora", BERT), random.Random(1)
    rates = []
    for _ in range(300):
        point, architecture = space.sample(rng)
        rates.append(dict(architecture.training)["learning_rate"])
        layers, size = architecture.layers, point["lora.size"]
        assert layers == tuple(range(point["layers.first"], point["layers.last"] + 1))
        assert {p.size for p in architecture.placements} == {size}
        (alpha,) = {dict(p.options).get("alpha", 2 * size) for p in architecture.placements}
        assert alpha / size in (0.5, 1, 2, 4)
    assert 1e-4 <= min(rates) < 2e-4 and 5e-3 < max(rates) <= 1e-2
    assert 0.4 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.6  # uniform in the logarithm


def test_loras_cardinality_is_infinite_as_its_learning_rate_is_a_range():
    assert load_space("lora", BERT).cardinality == math.inf


# -- dimensions


def test_a_logarithmic_range_never_leaves_its_bounds_by_rounding():
    class Extreme(random.Random):
        def uniform(self, a, b):
            return self.choice([a, b])

    rng = Extreme(0)
    for low, high in [(1e-4, 1e-2), (3e-5, 0.7), (1e-3, 3e-3)]:
        drawn = {Range("rate", low, high, log=True).sample(rng) for _ in range(20)}
        assert low <= min(drawn) and max(drawn) <= high


def test_ordered_choices_lie_on_a_scale_whatever_the_files_order():
    space = bind(
        BERT,
        lora={**ONE, "size": [8, 1, 64], "options": {"alpha": {"times_size": [1, 2, 0.5]}}},
        serial_adapter={"sites": ["ffn"], "size": {"width_over": [4, 16], "also": [100], "optional": True}},
        training={"learning_rate": [1e-2, 1e-4, 1e-3]},
    )
    assert choice(space, "lora.size").choices == (1, 8, 64)
    assert choice(space, "lora.alpha_over_size").choices == (0.5, 1, 2)
    assert choice(space, "serial_adapter.size").choices == (0, 48, 100, 192)
    assert choice(space, "training.learning_rate").choices == (1e-4, 1e-3, 1e-2)
    falling = bind(BERT, lora={**ONE, "size": [64, 8, 1]})
    assert choice(falling, "lora.size") == Choice("lora.size", (64, 8, 1), ordered=True)


def test_a_width_below_a_divisor_gives_size_one():
    space = bind(BERT, lora={**ONE, "size": {"width_over": [384, 1000, 5000]}})
    assert choice(space, "lora.size").choices == (2, 1)


def test_a_choice_of_sites_of_which_the_model_has_one_is_no_choice():
    space = bind(geometry_of("gpt2"), lora={"sites": {"choose": ["attention.query", "attention.qkv"]}, "size": [2]})
    assert space.dimensions == ()
    assert {p.site for p in space.decode({}).placements} == {"attention.qkv"}


def test_options_are_fixed_chosen_or_multiples_of_the_size():
    options = {"bias": [True, False], "scale": 2.0}
    space = bind(BERT, parallel_adapter={"sites": ["ffn"], "size": [3], "options": options})
    assert [d.name for d in space.dimensions] == ["parallel_adapter.bias"]
    architecture = space.decode({"parallel_adapter.bias": False})
    assert {p.options for p in architecture.placements} == {(("bias", False), ("scale", 2.0))}
    default = space.decode({"parallel_adapter.bias": True})
    assert {p.options for p in default.placements} == {(("scale", 2.0),)}, "what equals its default is left out"


def test_a_space_may_have_one_point_and_no_dimension():
    space = bind(BERT, ia3={"sites": ["attention.key"]})
    assert space.dimensions == () and space.cardinality == 1
    assert space.sample(random.Random(0)) == ({}, space.decode({})) and list(space.points()) == [{}]
    assert len(space.decode({}).placements) == 12


def test_layers_of_an_encoder_decoder_are_those_that_have_the_site():
    space = bind(geometry_of("t5"), lora={"sites": ["cross_attention.query"], "size": [2]})
    assert space.decode({"lora.size": 2}).layers == tuple(range(6, 12))


def test_a_space_without_a_valid_point_says_so():
    class Unlucky(random.Random):
        def choice(self, values):
            return False if False in values else values[0]

    with pytest.raises(NoFeasibleArchitecture, match="gave no valid architecture in 10000 draws"):
        bind(BERT, layers="mask", lora=ONE).sample(Unlucky())


def test_a_model_without_any_of_a_modules_sites_is_refused_with_every_such_module():
    gpt2 = geometry_of("gpt2")
    with pytest.raises(InvalidInput) as caught:
        bind(gpt2, lora=ONE, ia3={"sites": ["attention.key", "attention.value"]})
    assert [p.field for p in caught.value.problems] == ["made up: modules.lora.sites", "made up: modules.ia3.sites"]
    assert "known: attention, attention.kv, attention.output, attention.qkv" in str(caught.value)


def test_points_hold_every_site_layer_and_value():
    space = bind(
        geometry_of("distilbert"),
        layers="range",
        lora={"sites": {"choose": LINEARS[:3]}, "size": [1, 8], "options": {"alpha": {"times_size": [1, 2]}}},
        layer_norm={"sites": ["norm.ffn"], "options": {"bias": [True, False]}},
    )
    points = list(space.points())
    assert len(points) == space.cardinality == 2**3 * 2 * 2 * 2 * 6 * 6
    decoded = {space.decode(point) for point in points} - {None}
    placements = {p for architecture in decoded for p in architecture.placements}
    assert {p.site for p in placements} == {*LINEARS[:3], "norm.ffn"}
    assert {p.layer for p in placements} == set(range(6))
    # An alpha of twice the size, and a norm without a bias, are the defaults.
    assert {(p.size, p.options) for p in placements if p.module == "lora"} == {
        (1, ()),
        (1, (("alpha", 1.0),)),
        (8, ()),
        (8, (("alpha", 8.0),)),
    }
    assert {p.options for p in placements if p.module == "layer_norm"} == {(), (("bias", True),)}


# -- files of one's own


def test_a_users_file_works_by_path_and_by_home(tmp_path, monkeypatch):
    document = {"schema": 1, "summary": "mine", "modules": {"lora": ONE}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "no suffix").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "mine.yaml", "~/mine.yaml", tmp_path / "no suffix"):
        assert load_space(str(path), BERT).decode({"lora.size": 4}).layers == tuple(range(12))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "autopet",
            "space = 'autopet': unknown; did you mean autopeft? known: a path to a .yaml file, autopeft, ",
        ),
        ("none/of/mine.yaml", "space = 'none/of/mine.yaml': no such file"),
        ("", "space = '': unknown"),
        ("~nobody-of-that-name/mine.yaml", "no such file"),
        ("a\0b.yaml", "no such file"),
    ],
)
def test_a_space_that_is_not_there_is_named(name, told):
    with pytest.raises(InvalidInput) as caught:
        load_document(name)
    assert told in str(caught.value)
