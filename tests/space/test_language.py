"""What each key of a space's file means, one feature at a time."""

import itertools
import math
import random
from collections import Counter
from dataclasses import replace

import pytest

from autopeft.architecture import Placement
from autopeft.errors import InvalidInput, NoFeasibleArchitecture
from autopeft.modules import MODULE_TYPES
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import price
from autopeft.space import Choice, Integers, Range
from autopeft.space.grouping import PATTERNS, group_sizes
from autopeft.space.sizes import TOLERANCE
from tests.space.making import bert, geometry_of, small_bert, space_of

BERT = bert()
QUERY = {"sites": ["attention.query"]}
LORA = {**QUERY, "size": [4]}
ADAPTER = {"sites": ["ffn"], "size": [8]}
SWITCH = (False, True)


def names(space):
    return [dimension.name for dimension in space.dimensions]


def dimension(space, name):
    return next(d for d in space.dimensions if d.name == name)


def sizes(architecture):
    return {p.layer: p.size for p in architecture.placements}


def full(space, **values):
    """The point at which everything is on and the last of all choices is taken, but for these values."""
    point = {d.name: d.choices[-1] if isinstance(d, Choice) else d.high for d in space.dimensions}
    unknown = values.keys() - point.keys()
    assert not unknown, unknown
    return point | values


# -- module types


def test_an_entry_of_another_name_has_the_module_type_that_it_says():
    space = space_of({"mine": {**LORA, "type": "lora", "size": [2, 4]}}, BERT)
    assert names(space) == ["mine.size"]
    assert space.decode({"mine.size": 2}).module_types == ("lora",)


def test_one_of_several_module_types_is_chosen_and_each_takes_the_options_that_it_knows():
    entry = {"sites": ["ffn"], "size": [8], "type": ["serial_adapter", "parallel_adapter"], "options": {"scale": 2.0}}
    space = space_of({"adapter": entry}, BERT)
    assert space.dimensions == (Choice("adapter.type", ("serial_adapter", "parallel_adapter")),)
    serial, parallel = map(space.decode, space.points())
    assert {(p.module, p.options) for p in serial.placements} == {("serial_adapter", ())}
    assert {(p.module, p.options) for p in parallel.placements} == {("parallel_adapter", (("scale", 2.0),))}


def test_a_type_without_a_size_among_types_with_one_leaves_the_size_out():
    space = space_of({"any": {**QUERY, "type": ["lora", "ia3"], "size": [4, 8]}}, BERT)
    assert {p.size for p in space.decode({"any.type": "ia3", "any.size": 8}).placements} == {0}
    assert {p.size for p in space.decode({"any.type": "lora", "any.size": 8}).placements} == {8}


def test_an_option_that_would_turn_the_output_round_is_refused():
    entry = {"sites": ["ffn"], "size": [8], "options": {"scale": [-4.0, 4.0]}}
    with pytest.raises(InvalidInput, match=r"adapter.options.scale.0 = -4.0: must be a finite number above 0"):
        space_of({"parallel_adapter": entry}, BERT)


def test_an_option_that_one_of_the_types_refuses_is_refused():
    entry = {
        "sites": ["ffn"],
        "size": [8],
        "type": ["serial_adapter", "low_rank_adapter"],
        "options": {"rank": [1, 0]},
    }
    with pytest.raises(InvalidInput, match=r"modules.any.options.rank.1 = 0: must be a whole number of 1 or more"):
        space_of({"any": entry}, BERT)


# -- gates


@pytest.mark.parametrize(
    ("scope", "ends"),
    [
        ("network", [""]),
        ("group", [".g1", ".g2", ".g3"]),
        ("layer", [f".{layer:02d}" for layer in range(12)]),
        ("placement", [f".{layer:02d}.attention.{role}" for layer in range(12) for role in ("query", "value")]),
    ],
)
def test_a_gate_switches_what_its_scope_says_and_nothing_else(scope, ends):
    entry = {"sites": ["attention.query", "attention.value"], "size": [4], "gate": scope}
    space = space_of({"lora": entry, "bitfit": {"sites": ["norm.ffn"]}}, BERT, groups={"count": 3})
    assert space.dimensions == tuple(Choice(f"lora.on{end}", SWITCH) for end in ends)
    everything = {p for p in space.decode(full(space)).placements if p.module == "lora"}
    gone = []
    for name in names(space):
        left = {p for p in space.decode(full(space, **{name: False})).placements if p.module == "lora"}
        gone.append(everything - left)
    assert set().union(*gone) == everything and sum(map(len, gone)) == len(everything) == 24
    assert len({len(part) for part in gone}) == 1


# -- sizes


@pytest.mark.parametrize(
    ("scope", "ends"),
    [
        ("network", [""]),
        ("group", [".g1", ".g2"]),
        ("layer", [".00", ".01", ".02", ".03"]),
        ("placement", [f".{layer:02d}.attention.{role}" for layer in range(4) for role in ("query", "value")]),
    ],
)
def test_each_of_a_scope_has_a_size_of_its_own(scope, ends):
    entry = {"sites": ["attention.query", "attention.value"], "size": {"also": [1, 2, 4], "per": scope}}
    space = space_of({"lora": entry}, small_bert(4), groups={"count": 2})
    assert names(space) == [f"lora.size{end}" for end in ends]
    point = {name: 4 if index == 0 else 1 for index, name in enumerate(names(space))}
    larger = {(p.layer, p.site) for p in space.decode(point).placements if p.size == 4}
    sites = ("attention.query", "attention.value")
    assert (
        larger
        == {
            "network": set(itertools.product(range(4), sites)),
            "group": set(itertools.product(range(2), sites)),
            "layer": set(itertools.product([0], sites)),
            "placement": {(0, sites[0])},
        }[scope]
    )


def test_an_optional_size_leaves_one_layer_out_where_each_has_its_own():
    space = space_of({"lora": {**QUERY, "size": {"also": [2, 4], "optional": True, "per": "layer"}}}, small_bert(3))
    assert sizes(space.decode({"lora.size.00": 2, "lora.size.01": 0, "lora.size.02": 4})) == {0: 2, 2: 4}


def test_a_range_of_sizes_is_every_whole_number_and_drawn_on_a_log_scale():
    space = space_of({"lora": {**QUERY, "size": {"low": 1, "high": 256}}}, BERT)
    assert space.dimensions == (Integers("lora.size", 1, 256),) and space.cardinality == 256
    rng = random.Random(0)
    drawn = Counter(space.sample(rng)[0]["lora.size"] for _ in range(4000))
    assert min(drawn) == 1 and max(drawn) > 240
    # Each number stands for what rounds to it, from 0.5 to 256.5 in all.
    for low, high in ((1, 1), (2, 4), (5, 16), (17, 64), (65, 256)):
        share = math.log((high + 0.5) / (low - 0.5)) / math.log(256.5 / 0.5)
        assert abs(sum(drawn[size] for size in range(low, high + 1)) / 4000 - share) < 0.03


# -- layers


def test_the_last_layers_are_as_many_as_top_says():
    space = space_of({"lora": LORA}, BERT, layers={"top": [6, 3, 12]})
    assert space.dimensions == (Choice("layers.top", (3, 6, 12), ordered=True),)
    assert space.decode({"layers.top": 3}).layers == (9, 10, 11)


@pytest.mark.parametrize(
    ("layers", "wanted"), [([0, 5], (0, 5)), ([-1], (11,)), ([-2, 0, 10], (0, 10)), ([11, -12], (0, 11))]
)
def test_listed_layers_are_those_and_negative_ones_count_from_the_last(layers, wanted):
    space = space_of({"lora": LORA}, BERT, layers=layers)
    assert space.dimensions == () and space.decode({}).layers == wanted


def test_dimensions_are_of_the_layers_that_take_part_alone():
    space = space_of({"lora": {**LORA, "gate": "layer"}}, BERT, layers=[3, -1])
    assert names(space) == ["lora.on.03", "lora.on.11"]


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ([12], "made up: layers.0 = 12: the model has layers 0 to 11, or -1 down to -12 from the last"),
        ([0, -13], "made up: layers.1 = -13: the model has layers 0 to 11, or -1 down to -12 from the last"),
        ({"top": [3, 13]}, "made up: layers.top.1 = 13: the model has 12 layers"),
    ],
)
def test_layers_that_the_model_lacks_are_refused(layers, wanted):
    with pytest.raises(InvalidInput) as caught:
        space_of({"lora": LORA}, BERT, layers=layers)
    assert str(caught.value) == wanted


def test_a_module_that_no_chosen_layer_has_a_site_for_is_refused():
    modules = {"lora": LORA, "across": {"type": "lora", "sites": ["cross_attention.query"], "size": [4]}}
    with pytest.raises(InvalidInput) as caught:
        space_of(modules, geometry_of("t5"), layers=[0, 1])
    told = "made up: modules.across.sites = 'cross_attention.query': no layer that takes part has it; see layers"
    assert str(caught.value) == told


# -- groups


def test_groups_have_as_many_layers_as_their_pattern_gives_them():
    space = space_of({"lora": {**LORA, "gate": "group"}}, BERT, groups={"count": 4, "pattern": list(PATTERNS)})
    for pattern in PATTERNS:
        widths = []
        for group in range(1, 5):
            on = {f"lora.on.g{other}": other == group for other in range(1, 5)}
            # All groups take part, so one of them empty is not valid; another module fills them.
            assert space.decode({**on, "groups.pattern": pattern}) is None
        filled = space_of(
            {"lora": {**LORA, "gate": "group"}, "bitfit": {"sites": ["norm.ffn"]}},
            BERT,
            groups={"count": 4, "pattern": pattern},
        )
        for group in range(1, 5):
            on = {f"lora.on.g{other}": other == group for other in range(1, 5)}
            placed = [p.layer for p in filled.decode(on).placements if p.module == "lora"]
            assert placed == list(range(placed[0], placed[-1] + 1))
            widths.append(len(placed))
        assert tuple(widths) == group_sizes(12, 4, pattern)


def test_the_number_of_groups_may_be_chosen():
    space = space_of({"lora": {**QUERY, "size": {"also": [1, 2, 4], "per": "group"}}}, BERT, groups={"count": [2, 3]})
    assert dimension(space, "groups.count") == Choice("groups.count", (2, 3), ordered=True)
    by_group = {"lora.size.g1": 1, "lora.size.g2": 2, "lora.size.g3": 4}
    three = sizes(space.decode({**by_group, "groups.count": 3}))
    two = sizes(space.decode({**by_group, "groups.count": 2}))
    assert list(three.values()) == [1] * 4 + [2] * 4 + [4] * 4
    assert list(two.values()) == [1] * 6 + [2] * 6


def test_any_groups_but_none_may_be_tuned():
    space = space_of({"lora": LORA}, BERT, groups={"count": 3, "tunable": "choose"})
    assert names(space) == ["groups.tune.g1", "groups.tune.g2", "groups.tune.g3"]
    assert space.decode({"groups.tune.g1": True, "groups.tune.g2": False, "groups.tune.g3": True}).layers == (
        *range(4),
        *range(8, 12),
    )
    assert space.decode(dict.fromkeys(names(space), False)) is None


def test_a_group_that_takes_part_must_hold_a_module():
    space = space_of({"lora": {**LORA, "gate": "group"}}, BERT, groups={"count": 2, "tunable": "choose"})
    point = {"lora.on.g1": True, "lora.on.g2": False, "groups.tune.g1": True, "groups.tune.g2": True}
    assert space.decode(point) is None
    assert space.decode({**point, "groups.tune.g2": False}).layers == tuple(range(6))


def test_a_module_goes_into_its_own_groups_alone():
    modules = {"lora": {**LORA, "groups": [1, 3]}, "serial_adapter": {**ADAPTER, "groups": [2]}}
    architecture = space_of(modules, BERT, groups={"count": 3}).decode({})
    layers = {m: [p.layer for p in architecture.placements if p.module == m] for m in architecture.module_types}
    assert layers == {"lora": [0, 1, 2, 3, 8, 9, 10, 11], "serial_adapter": [4, 5, 6, 7]}


def test_the_layers_that_take_part_are_grouped():
    modules = {"lora": {**LORA, "groups": [1]}, "serial_adapter": {**ADAPTER, "groups": [2]}}
    space = space_of(modules, BERT, layers={"top": [1, 2, 4]}, groups={"count": 2})
    halves = {(p.module, p.layer) for p in space.decode({"layers.top": 4}).placements}
    assert halves == {("lora", 8), ("lora", 9), ("serial_adapter", 10), ("serial_adapter", 11)}
    assert space.decode({"layers.top": 1}) is None, "one layer makes no two groups"


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        ({"groups": {"count": [4, 13]}}, "groups.count = 13: 12 layers take part, which make 12 groups at most"),
        (
            {"groups": {"count": 4}, "layers": [0, 1, -1]},
            "groups.count = 4: 3 layers take part, which make 3 groups at most",
        ),
        (
            {"groups": {"count": 5}, "layers": {"top": [2, 4]}},
            "groups.count = 5: 4 layers take part, which make 4 groups at most",
        ),
    ],
)
def test_more_groups_than_layers_are_refused(rest, wanted):
    with pytest.raises(InvalidInput) as caught:
        space_of({"lora": LORA}, BERT, **rest)
    assert str(caught.value) == f"made up: {wanted}"


# -- allocation


def test_sizes_are_shared_out_over_groups_in_proportion_to_their_number():
    space = space_of(
        {"lora": {**QUERY, "size": [10]}},
        BERT,
        groups={"count": 4},
        allocation={"pattern": ["increasing", "uniform", "decreasing"]},
    )
    assert names(space) == ["allocation"]
    found = {point["allocation"]: list(sizes(space.decode(point)).values())[::3] for point in space.points()}
    assert found == {"increasing": [4, 8, 12, 16], "uniform": [10] * 4, "decreasing": [16, 12, 8, 4]}


def test_a_size_shared_out_is_neither_nought_nor_beyond_the_width():
    space = space_of(
        {"lora": {**QUERY, "size": [1, 32]}},
        small_bert(4),
        groups={"count": 4},
        allocation={"pattern": "increasing"},
    )
    assert list(sizes(space.decode({"lora.size": 1})).values()) == [1, 1, 1, 2]
    assert list(sizes(space.decode({"lora.size": 32})).values()) == [13, 26, 32, 32]


def params_by_layer(architecture, geometry):
    found = Counter()
    for placement in architecture.placements:
        found[placement.layer] += price(placement, geometry)
    return [found[layer] for layer in range(geometry.layers)]


@pytest.mark.parametrize("trend", ["increasing", "uniform", "decreasing"])
def test_parameters_of_a_layer_follow_the_trend_whatever_modules_a_group_has(trend):
    modules = {
        "lora": {"sites": ["attention.query", "attention.value"], "size": "solved", "groups": [1, 2, 4]},
        "serial_adapter": {"sites": ["ffn"], "size": "solved", "groups": [2, 3]},
        "prefix": {"sites": ["attention.kv"], "size": "solved", "groups": [3]},
    }
    space = space_of(
        modules,
        BERT,
        groups={"count": 4},
        allocation={"of": "params", "pattern": trend},
        budget=1_200_000,
    )
    found = params_by_layer(space.decode({}), BERT)
    shares = {"increasing": [0.4, 0.8, 1.2, 1.6], "uniform": [1.0] * 4, "decreasing": [1.6, 1.2, 0.8, 0.4]}[trend]
    for layer, params in enumerate(found):
        assert abs(params / (100_000 * shares[layer // 3]) - 1) < 0.05, found


def test_solved_sizes_follow_the_trend_where_sizes_are_shared_out():
    modules = {"lora": {**QUERY, "size": "solved"}, "serial_adapter": {"sites": ["ffn"], "size": "solved"}}
    space = space_of(modules, BERT, groups={"count": 2}, allocation={"pattern": "increasing"}, budget=1_000_000)
    by_type = {m: [p.size for p in space.decode({}).placements if p.module == m] for m in modules}
    for found in by_type.values():
        assert 1.8 < found[-1] / found[0] < 2.2
    assert abs(by_type["lora"][0] - by_type["serial_adapter"][0]) <= 1


# -- budgets


def test_sizes_of_a_type_whose_count_is_not_linear_are_not_said_to_meet_a_budget_that_they_miss(register):
    name = register("square", replace(MODULE_TYPES.get("lora"), count=lambda site, size, options: size**2))
    for budget, found in ((12, (12, 1)), (12 * 2500, None)):
        space = space_of({name: {**QUERY, "size": "solved"}}, BERT, budget=budget)
        architecture = space.decode({})
        assert (architecture and (space.params(architecture), architecture.placements[0].size)) == found


def made_up_modules(rng):
    candidates = {
        "lora": {"sites": rng.sample(["attention.query", "attention.value", "ffn.in", "ffn.out"], 2)},
        "serial_adapter": {"sites": ["ffn"], "options": {"bias": rng.random() < 0.5}},
        "parallel_adapter": {"sites": ["attention", "ffn"]},
        "prefix": {"sites": ["attention.kv"], "options": {"gate": rng.random() < 0.5}},
    }
    return {name: candidates[name] for name in rng.sample(sorted(candidates), rng.randint(1, 4))}


def test_a_budget_is_met_within_two_percent_wherever_sizes_can_and_is_else_no_architecture():
    rng = random.Random(0)
    results = Counter()
    for _ in range(250):
        width, layers = rng.choice([32, 64, 128]), rng.randint(1, 8)
        geometry = bert(
            hidden_size=width, num_attention_heads=4, intermediate_size=2 * width, num_hidden_layers=layers
        )
        modules = made_up_modules(rng)
        fixed = {"bitfit": {"sites": ["norm.ffn"]}} if rng.random() < 0.5 else {}

        def at(size, modules=modules, fixed=fixed, geometry=geometry):
            sized = {name: {**entry, "size": size} for name, entry in modules.items()}
            return space_of({**sized, **fixed}, geometry).decode({})

        least, second, most = (count_parameters(at([size]), geometry) for size in (1, 2, width))
        # No single step of size costs more than a step of all sizes at once, nor more than the dearest site's.
        dearest = max(
            price(two, geometry) - price(one, geometry)
            for one, two in zip(at([1]).placements, at([2]).placements, strict=True)
        )
        assert dearest <= second - least
        budget = round(math.exp(rng.uniform(math.log(0.9 * least), math.log(1.1 * most))))
        space = space_of(
            {name: {**entry, "size": "solved"} for name, entry in modules.items()} | fixed,
            geometry,
            budget=budget,
            groups={"count": rng.randint(1, layers), "pattern": rng.choice(PATTERNS)},
            allocation={
                "of": rng.choice(["size", "params"]),
                "pattern": rng.choice(["increasing", "uniform", "decreasing"]),
            },
        )
        architecture = space.decode(full(space))
        if architecture is None:
            out_of_reach = budget < least or budget > most
            assert out_of_reach or dearest / 2 > TOLERANCE * budget
            results["too coarse" if not out_of_reach else "out of reach"] += 1
            continue
        results["met"] += 1
        assert abs(count_parameters(architecture, geometry) - budget) <= TOLERANCE * budget
        assert all(1 <= p.size <= width for p in architecture.placements if p.module != "bitfit")
    assert results["met"] > 200 and results["out of reach"] and results["too coarse"], results


def test_a_budget_that_some_sizes_meet_is_met():
    """One module, one layer: whatever its sizes can cost, the solver finds."""
    geometry = small_bert(1)
    for size in range(1, 33):
        for modules in (
            {"lora": QUERY},
            {"serial_adapter": {"sites": ["ffn"]}},
            {"prefix": {"sites": ["attention.kv"]}},
        ):
            (name, entry), *_ = modules.items()
            placement = Placement(name, entry["sites"][0], 0, size)
            space = space_of({name: {**entry, "size": "solved"}}, geometry, budget=price(placement, geometry))
            assert space.decode({}).placements == (placement,)


@pytest.mark.parametrize("budget", [1, 62, 95, 32 * 64 * 2])
def test_a_budget_out_of_reach_or_between_two_sizes_makes_no_architecture(budget):
    space = space_of({"lora": {**QUERY, "size": "solved"}}, small_bert(1), budget=budget)
    assert space.decode({}) is None
    with pytest.raises(NoFeasibleArchitecture):
        space.sample(random.Random(0))


def test_modules_of_a_given_size_keep_it_and_the_others_share_what_they_leave():
    modules = {"serial_adapter": ADAPTER, "lora": {**QUERY, "size": "solved"}}
    space = space_of(modules, BERT, 40_000_000, budget="0.5%")
    assert space.budget == 200_000
    architecture = space.decode({})
    assert {p.size for p in architecture.placements if p.module == "serial_adapter"} == {8}
    assert abs(count_parameters(architecture, BERT) - 200_000) <= 4000


def test_without_an_open_size_a_point_is_valid_where_it_costs_the_budget_by_itself():
    modules = {"bitfit": {"sites": ["norm.ffn"]}, "lora": {**QUERY, "size": "solved", "gate": "network"}}
    space = space_of(modules, BERT, budget=12 * 768)
    assert space.decode({"lora.on": False}).module_types == ("bitfit",)
    assert space.decode({"lora.on": True}) is None


def test_a_percentage_of_a_model_of_unknown_size_is_refused():
    with pytest.raises(InvalidInput) as caught:
        space_of({"lora": {**QUERY, "size": "solved"}}, BERT, budget="1%", constraints={"params": {"most": "2%"}})
    remedy = "a percentage of a model whose size is not known; give a number"
    assert str(caught.value).split("\n") == [
        f"made up: budget = '1%': {remedy}",
        f"made up: constraints.params.most = '2%': {remedy}",
    ]


# -- training and quantisation


def test_training_settings_are_chosen_with_the_architecture():
    space = space_of(
        {"lora": LORA},
        BERT,
        training={
            "learning_rate": {"low": 1e-4, "high": 1e-2},
            "head_learning_rate": {"low": 0.1, "high": 0.3, "log": False},
            "weight_decay": [0.0, 0.01],
            "warmup": [0.1],
            "batch_size": [32, 16],
            "epochs": [1, 3],
        },
    )
    assert space.dimensions == (
        Range("training.learning_rate", 1e-4, 1e-2, log=True),
        Range("training.head_learning_rate", 0.1, 0.3, log=False),
        Choice("training.weight_decay", (0.0, 0.01), ordered=True),
        Choice("training.batch_size", (32, 16), ordered=True),
        Choice("training.epochs", (1.0, 3.0), ordered=True),
    )
    point, architecture = space.sample(random.Random(0))
    assert dict(architecture.training) == {"warmup": 0.1} | {
        name.removeprefix("training."): value for name, value in point.items()
    }


def test_how_the_base_model_is_stored_may_be_chosen():
    space = space_of({"lora": LORA}, BERT, quantisation=["none", "int8", "nf4"])
    assert space.dimensions == (Choice("quantisation", ("none", "int8", "nf4")),)
    assert [space.decode(point).quantisation for point in space.points()] == ["none", "int8", "nf4"]
    assert space_of({"lora": LORA}, BERT, quantisation=["nf4"]).decode({}).quantisation == "nf4"
    assert space_of({"lora": LORA}, BERT).decode({}).quantisation == "none"


# -- constraints


@pytest.mark.parametrize(
    ("params", "valid"),
    [
        ({"least": 2 * 12 * 1536}, [2, 4, 8]),
        ({"most": 2 * 12 * 1536}, [1, 2]),
        ({"least": "0.05%", "most": "0.1%"}, [4]),
        ({"least": 30_000, "most": "0.1%"}, [2, 4]),
    ],
)
def test_bounds_on_the_parameters_leave_points_out(params, valid):
    space = space_of({"lora": {**QUERY, "size": [1, 2, 4, 8]}}, BERT, 100_000_000, constraints={"params": params})
    assert [p["lora.size"] for p in space.points() if space.decode(p) is not None] == valid


@pytest.mark.parametrize(("least", "most"), [(2000, 1000), ("2%", "1%"), ("1%", 1000)])
def test_bounds_the_wrong_way_round_are_refused(least, most):
    with pytest.raises(InvalidInput) as caught:
        space_of({"lora": LORA}, BERT, 1_000_000, constraints={"params": {"least": least, "most": most}})
    assert str(caught.value) == f"made up: constraints.params.least = {least!r}: above most, which is {most}"


def test_bounds_in_numbers_are_compared_without_the_models_size():
    with pytest.raises(InvalidInput, match=r"constraints\.params\.least = 2: above most, which is 1"):
        space_of({"lora": LORA}, BERT, constraints={"params": {"least": 2, "most": 1}})


def test_modules_kept_apart_are_never_together():
    modules = {
        "lora": {**LORA, "gate": "network"},
        "serial_adapter": {**ADAPTER, "gate": "network"},
        "prefix": {"sites": ["attention.kv"], "size": [4], "gate": "network"},
    }
    space = space_of(modules, BERT, constraints={"apart": [["lora", "serial_adapter", "prefix"]]})
    used = [a.module_types for a in map(space.decode, space.points()) if a is not None]
    assert sorted(used) == [("lora",), ("prefix",), ("serial_adapter",)]


def test_two_entries_of_one_type_share_a_site_if_they_are_kept_apart():
    modules = {
        "broad": {"type": "lora", "sites": ["attention.query", "attention.value"], "size": [2], "gate": "network"},
        "deep": {"type": "lora", "sites": ["attention.query"], "size": [16], "gate": "network"},
    }
    with pytest.raises(InvalidInput) as caught:
        space_of(modules, BERT)
    assert str(caught.value) == (
        "made up: modules.deep.sites = 'attention.query': puts lora where modules.broad puts it already; "
        "give them other sites, or keep them apart"
    )
    space = space_of(modules, BERT, constraints={"apart": [["broad", "deep"]]})
    assert {len(a.placements) for a in map(space.decode, space.points()) if a is not None} == {12, 24}


def test_two_types_for_keys_and_values_share_a_site_if_they_are_kept_apart(second_prefix):
    modules = {name: {"sites": ["attention.kv"], "size": [2], "gate": "network"} for name in ("prefix", second_prefix)}
    with pytest.raises(InvalidInput, match=r"puts second where modules.prefix puts another already; give them other"):
        space_of(modules, BERT)
    space = space_of(modules, BERT, constraints={"apart": [["prefix", second_prefix]]})
    assert {a.module_types for a in map(space.decode, space.points()) if a is not None} == {("prefix",), ("second",)}


def test_forbidden_combinations_are_left_out():
    space = space_of(
        {"lora": {**LORA, "size": [1, 2, 4]}, "serial_adapter": {**ADAPTER, "gate": "network"}},
        BERT,
        constraints={"forbid": [{"lora.size": [2, 4], "serial_adapter.on": True}, {"lora.size": 1}]},
    )
    left = [point for point in space.points() if space.decode(point) is not None]
    assert left == [{"lora.size": size, "serial_adapter.on": False} for size in (2, 4)]


def test_a_forbidden_combination_may_name_a_choice_of_one_value():
    modules = {"lora": LORA, "bitfit": {"sites": ["norm.ffn"], "gate": "network"}}
    space = space_of(modules, BERT, constraints={"forbid": [{"lora.size": 4, "bitfit.on": False}]})
    assert names(space) == ["bitfit.on"]
    assert space.decode({"bitfit.on": False}) is None and space.decode({"bitfit.on": True}) is not None


@pytest.mark.parametrize(
    ("forbidden", "wanted"),
    [
        ({"lora.sise": 1}, "constraints.forbid.0 = 'lora.sise': unknown; did you mean lora.size "),
        ({"lora.size": 3}, "constraints.forbid.0.lora.size = 3: never chosen; there is 1, 2"),
        ({"lora.size": [1, True]}, "constraints.forbid.0.lora.size = True: never chosen; there is 1, 2"),
        ({"prefix.size": True}, "constraints.forbid.0.prefix.size = True: never chosen; there is 1 to 9"),
        ({"prefix.size": 10}, "constraints.forbid.0.prefix.size = 10: never chosen; there is 1 to 9"),
    ],
)
def test_a_forbidden_combination_of_what_is_never_chosen_is_refused(forbidden, wanted):
    modules = {
        "lora": {**LORA, "size": [1, 2]},
        "prefix": {"sites": ["attention.kv"], "size": {"low": 1, "high": 9}},
    }
    with pytest.raises(InvalidInput) as caught:
        space_of(modules, BERT, constraints={"forbid": [forbidden]})
    assert str(caught.value).startswith(f"made up: {wanted}")
