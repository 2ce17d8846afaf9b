"""What holds of every space and every point: checked on many random points of each, on three kinds of model."""

import itertools
import json
import math
import pickle
import random
from dataclasses import replace
from functools import cache

import optuna
import pytest

from autopeft.architecture import Architecture
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise
from autopeft.samplers import memory
from autopeft.space import Choice, Range, find, largest, load_space, smallest, space_names
from autopeft.space.sizes import TOLERANCE
from tests.space.making import BERT_PARAMETERS, bert, geometry_of, small_bert, space_of

SAMPLES = 1000
MODELS = {
    "bert": (bert(), BERT_PARAMETERS),
    "llama": (
        geometry_of(
            "llama",
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=4,
            intermediate_size=688,
        ),
        20_000_000,
    ),
    # Wide as T5-base, and low: what a layer holds is what differs from the others.
    "t5": (geometry_of("t5", d_model=768, d_kv=64, num_heads=12, d_ff=3072, num_layers=3), 80_000_000),
}
T5_LARGE = geometry_of("t5", d_model=1024, d_kv=64, num_heads=16, d_ff=4096, num_layers=24)

everywhere = pytest.mark.parametrize("name", space_names())
on_every_model = pytest.mark.parametrize("model", MODELS)


@cache
def bound(name, model):
    return load_space(name, *MODELS[model])


@cache
def drawn(name, model):
    rng = random.Random(f"{name} on {model}")
    return [bound(name, model).sample(rng) for _ in range(SAMPLES)]


# -- every space, every model, a thousand points


@everywhere
def test_a_space_that_remembers_what_it_decoded_can_be_sent_to_another_process(name):
    point, architecture = drawn(name, "bert")[0]
    sent = pickle.loads(pickle.dumps(bound(name, "bert")))
    assert sent.decode(point) == architecture and sent.params(architecture) == bound(name, "bert").params(architecture)


@everywhere
@on_every_model
def test_a_space_that_remembers_what_it_decoded_decodes_as_a_new_one_does(name, model):
    for point, architecture in random.Random(0).sample(drawn(name, model), 40):
        new = replace(bound(name, model))
        assert bound(name, model).decode(point) == new.decode(point) == architecture
        assert bound(name, model).params(architecture) == new.params(architecture)


@everywhere
@on_every_model
def test_points_decode_to_architectures_in_normal_form_at_sites_that_are_there(name, model):
    space, geometry = bound(name, model), MODELS[model][0]
    for point, architecture in drawn(name, model):
        assert point.keys() == {dimension.name for dimension in space.dimensions}
        assert architecture.placements and all(geometry.find(p.site, p.layer) for p in architecture.placements)
        assert normalise(architecture, geometry) == architecture


@everywhere
@on_every_model
def test_equal_architectures_have_equal_fingerprints_and_come_back_from_json(name, model):
    fingerprints = {}
    for _, architecture in drawn(name, model):
        text = architecture.canonical_json()
        again = Architecture.from_dict(json.loads(text))
        # Equality alone would not tell 1 from 1.0, which are written differently.
        assert again == architecture and again.canonical_json() == text
        assert fingerprints.setdefault(architecture.fingerprint, text) == text
    assert len(fingerprints) == len({architecture for _, architecture in drawn(name, model)})


@everywhere
@on_every_model
def test_points_come_back_from_json_and_from_optuna(name, model):
    space = bound(name, model)
    sampler = memory.Memory(space, optuna.samplers.RandomSampler(seed=0))
    readable = {d.name: memory.readable(d) for d in space.dimensions}
    for point, _ in drawn(name, model):
        told = sampler._from_point(point)
        assert sampler._to_point(told) == point
        for params, distributions in ((point, readable), (told, sampler._distributions)):
            for key, distribution in distributions.items():
                kept = distribution.to_external_repr(distribution.to_internal_repr(params[key]))
                assert kept == params[key] and type(kept) is type(params[key])
        assert json.loads(json.dumps(point)) == point
    point, architecture = drawn(name, model)[0]
    trial = optuna.trial.create_trial(params=dict(point), distributions=readable, values=[0.0])
    assert space.decode(trial.params) == architecture


@everywhere
@on_every_model
def test_what_optuna_proposes_is_a_point(name, model):
    space = bound(name, model)
    sampler = memory.Memory(space, optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        point, _ = sampler.ask()
        for dimension in space.dimensions:
            value = point[dimension.name]
            if isinstance(dimension, Choice):
                assert value in dimension.choices
            else:
                assert dimension.low <= value <= dimension.high
        space.decode(point)


@everywhere
@on_every_model
def test_points_meet_the_constraints_and_the_budget(name, model):
    space, geometry = bound(name, model), MODELS[model][0]
    least, most = space._bounds
    for _, architecture in drawn(name, model):
        params = space.params(architecture)
        assert least <= params <= most
        if space.budget is not None:
            assert abs(params - space.budget) <= TOLERANCE * space.budget
    for _, architecture in drawn(name, model)[:20]:
        assert space.params(architecture) == count_parameters(architecture, geometry)


def test_one_space_has_a_budget_and_it_is_half_a_percent():
    budgets = {name: bound(name, "bert").budget for name in space_names()}
    assert {name for name, budget in budgets.items() if budget} == {"design_spaces"}
    assert budgets["design_spaces"] == round(0.005 * BERT_PARAMETERS)


@everywhere
@on_every_model
def test_the_smallest_and_the_largest_bound_what_is_drawn(name, model):
    space = bound(name, model)
    params = [space.params(architecture) for _, architecture in drawn(name, model)]
    if space.budget is None:
        assert smallest(space) <= min(params) and max(params) <= largest(space)
    else:
        assert smallest(space) == largest(space) in params or abs(smallest(space) / space.budget - 1) <= TOLERANCE


# -- architectures found again, in their own space and in others


@pytest.mark.parametrize("name", ["autopeft", "layerwise", "lora", "qlora", "s3delta_l", "unified"])
def test_a_drawn_architecture_is_found_again_with_its_fingerprint(name):
    space = bound(name, "llama")
    for _, architecture in drawn(name, "llama")[:8]:
        point = find(space, architecture)
        assert point is not None
        assert space.decode(point).fingerprint == architecture.fingerprint


def test_one_architecture_in_two_spaces_has_one_fingerprint():
    geometry, _ = MODELS["bert"]
    shared = 0
    for _, architecture in drawn("autopeft", "bert")[:200]:
        # Without biases it is in no other; so spaces that say the same in other words.
        sizes = {p.module: p.size for p in architecture.placements}
        words = {
            module: {"sites": [site], "size": {"low": 1, "high": 768}, "gate": "layer"}
            for module, site in (("serial_adapter", "ffn"), ("parallel_adapter", "ffn"), ("prefix", "attention.kv"))
        }
        for module in ("serial_adapter", "parallel_adapter"):
            words[module]["options"] = {"bias": [True, False]}
        other = space_of(words, geometry)
        point = {}
        for dimension in other.dimensions:
            module, _, rest = dimension.name.partition(".")
            on = module in sizes and int(rest[3:]) in architecture.layers if rest.startswith("on.") else None
            point[dimension.name] = False if rest == "bias" else sizes.get(module, 1) if on is None else on
        assert other.decode(point).fingerprint == architecture.fingerprint
        shared += 1
    assert shared == 200


def test_long_ranges_of_sizes_are_looked_through_without_trying_every_number():
    entry = {"sites": ["attention.query"], "size": {"low": 1, "high": 768, "per": "layer"}}
    space = space_of({"lora": entry}, bert())
    assert smallest(space) == 12 * 1536 and largest(space) == 768 * 12 * 1536
    _, architecture = space.sample(random.Random(0))
    assert space.decode(find(space, architecture)) == architecture


def test_a_setting_beyond_a_spaces_range_is_not_found():
    space = bound("lora", "llama")
    _, architecture = drawn("lora", "llama")[0]
    beyond = Architecture(architecture.placements, (("learning_rate", 0.5),))
    assert find(space, beyond) is None
    assert find(space, architecture.with_quantisation("int8")) is None


# -- S3Delta's gates


def gates(name, geometry):
    space = load_space(name, geometry)
    assert all(isinstance(d, Choice) and d.choices == (False, True) for d in space.dimensions)
    assert space.cardinality == 2 ** len(space.dimensions)
    return len(space.dimensions)


def test_s3delta_has_288_and_916_gates_on_t5_large():
    assert gates("s3delta_l", T5_LARGE) == 6 * 48 == 288
    assert gates("s3delta_m", T5_LARGE) == 288 + 288 + 240 + 4 + 96 == 916


@pytest.mark.parametrize(
    ("model", "linears", "norms"),
    [
        ("bert", 12 * 6, 12 * 2),
        ("llama", 4 * 7, 4 * 2 + 1),  # a gate in the feed-forward part, and a last norm
    ],
)
def test_s3delta_means_the_same_on_an_encoder_or_a_decoder_alone(model, linears, norms):
    geometry, _ = MODELS[model]
    assert gates("s3delta_l", geometry) == linears
    assert gates("s3delta_m", geometry) == 2 * linears + 2 * norms + 2 * geometry.layers


# -- cardinality


def countable(name, layers):
    """The shipped space on a model so small that it can be counted."""
    geometry = small_bert(layers)
    return load_space(name, geometry, 100_000)


@pytest.mark.parametrize(("name", "layers"), [("autopeft", 3), ("s3delta_l", 2), ("s3delta_l", 1)])
def test_cardinality_is_the_number_of_points_of_shipped_spaces(name, layers):
    space = countable(name, layers)
    assert space.cardinality <= 100_000
    assert_counted(space, decode=space.cardinality <= 5000)


MADE_UP = {
    "types and gates": (
        {"any": {"type": ["lora", "ia3", "bitfit"], "sites": ["ffn.in"], "size": [1, 2], "gate": "layer"}},
        {},
    ),
    "sizes by layer": (
        {"lora": {"sites": ["ffn.in"], "size": {"also": [1, 2], "optional": True, "per": "layer"}}},
        {},
    ),
    "a range": ({"lora": {"sites": ["ffn.in"], "size": {"low": 3, "high": 17}, "gate": "network"}}, {}),
    "a mask": ({"lora": {"sites": {"choose": ["ffn.in", "ffn.out"]}, "size": [1]}}, {"layers": "mask"}),
    "first to last": ({"lora": {"sites": ["ffn.in"], "size": [1, 4]}}, {"layers": "range"}),
    "the last few": ({"lora": {"sites": ["ffn.in"], "size": [1, 4]}}, {"layers": {"top": [1, 2, 4]}}),
    "groups": (
        {"lora": {"sites": ["ffn.in"], "size": {"also": [1, 2], "per": "group"}, "gate": "group"}},
        {"groups": {"count": [1, 2, 3], "pattern": ["increasing", "spindle"], "tunable": "choose"}},
    ),
    "allocation": (
        {"lora": {"sites": ["ffn.in"], "size": [2, 8]}},
        {"groups": {"count": 2}, "allocation": {"pattern": ["increasing", "decreasing"]}},
    ),
    "a budget": (
        {
            "lora": {"sites": ["ffn.in"], "size": "solved", "gate": "group"},
            "prefix": {"sites": ["attention.kv"], "size": "solved"},
        },
        {"groups": {"count": 2}, "allocation": {"of": "params", "pattern": ["increasing", "uniform"]}, "budget": 5000},
    ),
    "settings": (
        {
            "lora": {
                "sites": ["ffn.in"],
                "size": [1],
                "options": {"alpha": {"times_size": [1, 2]}, "gate": [True, False]},
            }
        },
        {"training": {"epochs": [1, 2], "batch_size": [8, 16]}, "quantisation": ["none", "nf4"]},
    ),
    "constraints": (
        {
            "lora": {"sites": ["ffn.in"], "size": [1, 2], "gate": "network"},
            "ia3": {"sites": ["ffn.hidden"], "gate": "network"},
        },
        {"constraints": {"apart": [["lora", "ia3"]], "forbid": [{"lora.size": 2}], "params": {"most": 500}}},
    ),
}


@pytest.mark.parametrize("kind", MADE_UP)
def test_cardinality_is_the_number_of_points_of_every_kind_of_dimension(kind):
    modules, rest = MADE_UP[kind]
    space = space_of(modules, small_bert(4), **rest)
    assert 1 < space.cardinality <= 5000
    assert_counted(space, decode=True)


def assert_counted(space, decode):
    points = [tuple(point.items()) for point in space.points()]
    assert len(points) == len(set(points)) == space.cardinality
    if decode:
        decoded = [space.decode(dict(point)) for point in points]
        assert any(decoded)
        for architecture in filter(None, decoded):
            assert normalise(architecture, space.geometry) == architecture
        if space.budget is None and len(points) <= 600:
            params = [space.params(architecture) for architecture in filter(None, decoded)]
            assert (smallest(space), largest(space)) == (min(params), max(params))


def test_cardinality_is_the_product_of_the_dimensions_and_infinite_with_a_range_of_real_numbers():
    for name, model in itertools.product(space_names(), MODELS):
        space = bound(name, model)
        assert space.cardinality == math.prod(d.cardinality for d in space.dimensions)
        assert math.isinf(space.cardinality) == any(isinstance(d, Range) for d in space.dimensions)
    with pytest.raises(ValueError, match="training.learning_rate is a range of real numbers"):
        next(bound("lora", "bert").points())
