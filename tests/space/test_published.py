"""The space of AutoPEFT as its authors published it, on every model it binds to."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig

from autopeft.geometry import ModelGeometry
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.space import Choice, load_space

BERT_BASE = ModelGeometry.from_config(BertConfig().to_dict())
MINILM = ModelGeometry.from_config(
    BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536).to_dict()
)
SPACE = load_space("autopeft", BERT_BASE)
SIZED = {d.name.removesuffix(".size"): d for d in SPACE.dimensions if d.name.endswith(".size")}
SIZES = (768, 384, 192, 96, 48, 24, 12, 6, 3, 1, 0)
MODULES = ("serial_adapter", "parallel_adapter", "prefix")

points = st.fixed_dictionaries({d.name: st.sampled_from(d.choices) for d in SPACE.dimensions})


def point(serial=0, parallel=0, prefix=0, layers=range(12)):
    sizes = {"serial_adapter.size": serial, "parallel_adapter.size": parallel, "prefix.size": prefix}
    return sizes | {f"layers.{i:02d}": i in layers for i in range(12)}


def test_it_has_eleven_sizes_of_three_module_types_and_a_mask_of_twelve_layers():
    assert SPACE.cardinality == 11**3 * 2**12 == 5_451_776
    assert tuple(SIZED) == MODULES
    assert all(dimension.choices == SIZES and dimension.ordered for dimension in SIZED.values())
    mask = [d for d in SPACE.dimensions if d.name not in {f"{m}.size" for m in MODULES}]
    assert mask == [Choice(f"layers.{i:02d}", (False, True)) for i in range(12)]


def test_a_narrow_model_has_every_size_once():
    space = load_space("autopeft", MINILM)
    assert space.dimensions[0].choices == (384, 192, 96, 48, 24, 12, 6, 3, 1, 0)
    assert space.cardinality == 10**3 * 2**6


@given(points)
def test_one_size_per_module_type_and_one_mask_for_all_of_them(chosen):
    architecture = SPACE.decode(chosen)
    layers = {i for i in range(12) if chosen[f"layers.{i:02d}"]}
    sizes = {module: chosen[f"{module}.size"] for module in MODULES if chosen[f"{module}.size"]}
    if architecture is None:
        assert not layers or not sizes
        return
    found = {(p.module, p.layer): p.size for p in architecture.placements}
    assert found == {(module, layer): size for module, size in sizes.items() for layer in layers}
    assert {p.site for p in architecture.placements if p.module == "prefix"} <= {"attention.kv"}
    assert {p.site for p in architecture.placements if p.module != "prefix"} <= {"ffn"}


@given(points)
def test_parameters_are_the_published_formula(chosen):
    architecture = SPACE.decode(chosen)
    if architecture is None:
        return
    serial, parallel, prefix = (chosen[f"{module}.size"] for module in MODULES)
    active, width = sum(chosen[f"layers.{i:02d}"] for i in range(12)), 768
    formula = 2 * width * serial * active + 2 * width * parallel * active + 2 * width * prefix * active
    assert count_parameters(normalise(architecture, BERT_BASE), BERT_BASE) == formula


@pytest.mark.parametrize("nothing", [point(1, 1, 1, layers=()), point(), point(layers=())])
def test_every_layer_or_every_module_off_is_no_architecture(nothing):
    assert SPACE.decode(nothing) is None


def test_one_module_in_one_layer_is_the_smallest_there_is():
    architecture = SPACE.decode(point(prefix=1, layers=[11]))
    assert architecture.summary() == "prefix 1 @ layers 11"
    assert count_parameters(architecture, BERT_BASE) == 2 * 768


def test_samples_are_valid_and_repeat_by_their_seed():
    def draw(seed):
        rng = random.Random(seed)
        return [SPACE.sample(rng) for _ in range(50)]

    assert draw(3) == draw(3) != draw(4)
    for chosen, architecture in draw(3):
        assert SPACE.decode(chosen) == architecture and architecture.placements


def test_samples_are_uniform():
    rng, draws = random.Random(0), 3300
    drawn = [SPACE.sample(rng)[0] for _ in range(draws)]
    for dimension in SPACE.dimensions:
        counts = Counter(chosen[dimension.name] for chosen in drawn)
        expected = draws / len(dimension.choices)
        squares = sum((counts[value] - expected) ** 2 / expected for value in dimension.choices)
        assert squares < 30, (dimension.name, counts)  # far out in the tail of 10 degrees of freedom
