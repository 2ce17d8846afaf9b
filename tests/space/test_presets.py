"""The designs that are shipped: one architecture each, of the published size, and where they lie in the spaces."""

import random

import pytest

from autopeft.baselines import BASELINES, preset
from autopeft.errors import InvalidInput
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.space import find, load_document, load_space, preset_names
from autopeft.space.grouping import group_sizes
from autopeft.space.load import PRESET
from tests.space.making import BERT_PARAMETERS, bert, geometry_of

BERT = bert()
T5_BASE = geometry_of("t5", d_model=768, d_kv=64, num_heads=12, d_ff=3072, num_layers=12)
T5_BASE_PARAMETERS = 222_903_552
PUBLISHED_OF = 109_480_000  # what the percentages of AutoPEFT's Table 1 are of


def count(name):
    return count_parameters(preset(name, BERT, BERT_PARAMETERS), BERT)


def on_bert(name):
    return preset(name, BERT, BERT_PARAMETERS)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_one_architecture_with_a_title_and_a_source(name):
    document = load_document(PRESET + name)
    assert document.title and "arXiv" in document.source
    space = load_space(PRESET + name, BERT, BERT_PARAMETERS)
    assert space.dimensions == () and space.cardinality == 1
    architecture = space.decode({})
    assert architecture == space.sample(random.Random(0))[1] == normalise(architecture, BERT)
    assert find(space, architecture) == {}


def test_all_baselines_are_presets_and_all_designs_of_the_field_are_there():
    assert set(BASELINES) <= set(preset_names())
    assert set(preset_names()) == {
        *("houlsby", "pfeiffer", "parallel", "mam", "unipelt", "lora", "prefix", "bitfit", "ia3", "s4")
    }
    assert len({load_document(PRESET + name).title for name in preset_names()}) == len(preset_names())


@pytest.mark.parametrize(
    ("name", "biases", "percent"),
    [
        # The published figures count no biases.
        ("pfeiffer", 12 * (48 + 768), 0.808),
        ("lora", 0, 0.269),
        ("prefix", 0, 0.168),
        ("mam", 12 * (384 + 768), 6.97),
        ("parallel", 12 * (384 + 768), 6.465),
        # Nor gates: at query, value, keys and values, and feed-forward.
        ("unipelt", 12 * (48 + 768) + 12 * 4 * 769, 1.245),
    ],
)
def test_parameters_on_bert_base_are_the_published_ones(name, biases, percent):
    share = 100 * (count(name) - biases) / PUBLISHED_OF
    assert abs(share - percent) < 0.005, share


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("bitfit", 101_376),
        ("houlsby", 1_789_056),
        ("ia3", 55_296),
        ("lora", 294_912),
        ("mam", 7_644_672),
        ("parallel", 7_091_712),
        ("pfeiffer", 894_528),
        ("prefix", 184_320),
        ("s4", 546_936),
        ("unipelt", 1_410_672),
    ],
)
def test_parameters_on_bert_base_with_all_biases_and_gates(name, params):
    assert count(name) == params


@pytest.mark.parametrize(
    ("geometry", "base_parameters"), [(BERT, BERT_PARAMETERS), (T5_BASE, T5_BASE_PARAMETERS)], ids=["bert", "t5"]
)
def test_s4_has_the_papers_groups_and_strategies_at_half_a_percent(geometry, base_parameters):
    architecture = preset("s4", geometry, base_parameters)
    assert abs(count_parameters(architecture, geometry) / (0.005 * base_parameters) - 1) <= 0.02
    spindle = group_sizes(geometry.layers, 4, "spindle")
    assert spindle == {12: (2, 4, 4, 2), 24: (4, 8, 8, 4)}[geometry.layers]
    group_of = [group for group, layers in enumerate(spindle) for _ in range(layers)]
    used = [set() for _ in range(4)]
    for placement in architecture.placements:
        used[group_of[placement.layer]].add(placement.module)
    assert used == [
        {"serial_adapter", "lora"},
        {"serial_adapter", "prefix"},
        {"serial_adapter", "prefix", "bitfit"},
        {"prefix", "bitfit", "lora"},
    ]
    assert architecture.layers == tuple(range(geometry.layers))


@pytest.mark.parametrize("name", ["mam", "unipelt", "lora", "prefix", "pfeiffer", "houlsby", "parallel"])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_the_unified_space_holds_the_published_designs(name, family):
    geometry = geometry_of(family)
    unified, design = load_space("unified", geometry), preset(name, geometry)
    point = find(unified, design)
    assert point is not None and point.keys() == {d.name for d in unified.dimensions}
    found = unified.decode(point)
    assert found == design and found.fingerprint == design.fingerprint


def test_mam_and_unipelt_in_the_words_of_the_unified_space():
    unified = load_space("unified", BERT)
    mam, unipelt = (find(unified, on_bert(name)) for name in ("mam", "unipelt"))
    off = {"attention_adapter.size": 0, "ffn_lora.size": 0}
    assert (
        mam.items()
        >= (
            off
            | {"ffn_adapter.type": "parallel_adapter", "ffn_adapter.size": 384, "ffn_adapter.scale": 4.0}
            | {"ffn_adapter.gate": False, "attention_lora.size": 0, "prefix.size": 30, "prefix.gate": False}
        ).items()
    )
    assert (
        unipelt.items()
        >= (
            off
            | {"ffn_adapter.type": "serial_adapter", "ffn_adapter.size": 48, "ffn_adapter.gate": True}
            | {"attention_lora.size": 8, "attention_lora.gate": True, "prefix.size": 10, "prefix.gate": True}
        ).items()
    )


def test_s4_is_a_point_of_the_design_spaces():
    space = load_space("design_spaces", BERT, BERT_PARAMETERS)
    point = find(space, on_bert("s4"))
    assert point is not None and space.decode(point).fingerprint == on_bert("s4").fingerprint
    assert (point["groups.pattern"], point["allocation"]) == ("spindle", "uniform")


@pytest.mark.parametrize("name", ["bitfit", "ia3", "s4"])
def test_what_the_unified_space_has_no_form_for_is_not_found_in_it(name):
    assert find(load_space("unified", BERT), on_bert(name)) is None


def test_a_preset_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(InvalidInput) as caught:
        load_document("preset:pfeifer")
    assert str(caught.value).startswith("space preset = 'pfeifer': unknown; did you mean pfeiffer")
