import subprocess
import sys
from itertools import product

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.errors import InvalidInput
from autopeft.modules import MODULE_TYPES
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import full_options, normalise, price

TYPES = MODULE_TYPES.all()


def place(module, site, layer=0, size=0, **options):
    return Placement(module, site, layer, size, tuple(options.items()))


def problems_of(architecture, geometry):
    with pytest.raises(InvalidInput) as caught:
        normalise(architecture, geometry)
    return [str(problem) for problem in caught.value.problems]


def test_options_that_equal_their_defaults_are_left_out_so_that_equals_look_equal(tiny_geometry):
    geometry = tiny_geometry("bert")
    spelled = Architecture((place("parallel_adapter", "ffn", 0, 4, scale=4, bias=True),))
    plain = Architecture((place("parallel_adapter", "ffn", 0, 4),))
    assert normalise(spelled, geometry) == normalise(plain, geometry) == plain
    assert normalise(spelled, geometry).fingerprint == plain.fingerprint


def test_options_that_differ_are_kept_in_the_type_of_their_default(tiny_geometry):
    architecture = Architecture((place("lora", "attention.query", 0, 4, alpha=16),))
    ((_, alpha),) = normalise(architecture, tiny_geometry("bert")).placements[0].options
    assert alpha == 16.0 and isinstance(alpha, float)


def test_normalising_keeps_training_and_quantisation_and_changes_nothing_the_second_time(tiny_geometry):
    architecture = Architecture((place("lora", "ffn.in", 1, 4, alpha=0),), (("epochs", 2),), "nf4")
    once = normalise(architecture, tiny_geometry("bert"))
    assert (once.training, once.quantisation) == (architecture.training, architecture.quantisation)
    assert normalise(once, tiny_geometry("bert")) == once


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (place("lora", "ffn.in", 0, 4, alpha=8), place("lora", "ffn.in", 0, 4)),
        (place("lora", "ffn.in", 0, 4, alpha=8.0, gate=True), place("lora", "ffn.in", 0, 4, gate=True, alpha=0)),
        (place("lora", "ffn.in", 0, 4, alpha=-0.0), place("lora", "ffn.in", 0, 4)),
        (place("prefix", "attention.kv", 0, 4, std=-0.0), place("prefix", "attention.kv", 0, 4, std=0)),
        (place("low_rank_adapter", "ffn", 0, 4, rank=1), place("low_rank_adapter", "ffn", 0, 4, gate=False)),
    ],
)
def test_equal_functions_have_equal_fingerprints(one, other, tiny_geometry):
    first, second = (normalise(Architecture((p,)), tiny_geometry("bert")) for p in (one, other))
    assert first.fingerprint == second.fingerprint


def test_an_alpha_of_twice_another_rank_is_kept(tiny_geometry):
    architecture = Architecture((place("lora", "ffn.in", 0, 4, alpha=16), place("lora", "ffn.in", 1, 8, alpha=16)))
    assert [p.options for p in normalise(architecture, tiny_geometry("bert")).placements] == [(("alpha", 16.0),), ()]


def test_every_problem_is_reported_and_each_only_once(tiny_geometry):
    architecture = Architecture(
        (
            place("lorra", "attention.query", 0, 4),
            place("lorra", "attention.query", 1, 4),
            place("lora", "attention.query", 5, 4),
            place("lora", "attention.quary", 1, 4),
            place("lora", "ffn", 0, 0, rank=8),
            place("ia3", "ffn.hidden", 0, 4),
        )
    )
    problems = problems_of(architecture, tiny_geometry("bert"))
    assert sorted(problem.partition(";")[0] for problem in problems) == [
        "ia3.size = 4: has no size",
        "layer = 5: bert has layers 0 to 1",
        "lora.options = 'rank': unknown",
        "lora.site = 'ffn': cannot go there",
        "lora.size = 0: must be 1 or more",
        "module type = 'lorra': unknown",
        "site of layer 1 = 'attention.quary': unknown",
    ]


def test_a_site_that_does_not_fit_is_answered_with_those_that_do(tiny_geometry):
    (problem,) = problems_of(Architecture((place("serial_adapter", "norm.ffn", 0, 4),)), tiny_geometry("t5"))
    assert problem.endswith("it can go to attention, ffn, cross_attention")


def test_a_prefix_is_refused_where_the_family_has_no_place_for_it(tiny_geometry):
    (problem,) = problems_of(Architecture((place("prefix", "attention.kv", 0, 4),)), tiny_geometry("deberta-v2"))
    assert problem.startswith("site of layer 0 = 'attention.kv': unknown")


@pytest.mark.parametrize(
    ("module", "site", "option", "value", "wanted"),
    [
        ("lora", "ffn.in", "alpha", "16", "a finite number of 0 or more"),
        ("lora", "ffn.in", "alpha", True, "a finite number of 0 or more"),
        ("lora", "ffn.in", "alpha", float("nan"), "a finite number of 0 or more"),
        ("lora", "ffn.in", "alpha", float("inf"), "a finite number of 0 or more"),
        ("lora", "ffn.in", "alpha", -16, "a finite number of 0 or more"),
        ("prefix", "attention.kv", "std", -0.02, "a finite number of 0 or more"),
        ("parallel_adapter", "ffn", "scale", -4.0, "a finite number above 0"),
        ("parallel_adapter", "ffn", "scale", 0, "a finite number above 0"),
        ("low_rank_adapter", "ffn", "rank", 0, "a whole number of 1 or more"),
        ("low_rank_adapter", "ffn", "rank", -1, "a whole number of 1 or more"),
        ("low_rank_adapter", "ffn", "rank", 2.0, "a whole number of 1 or more"),
        ("low_rank_adapter", "ffn", "rank", True, "a whole number of 1 or more"),
        ("serial_adapter", "ffn", "bias", 1, "true or false"),
        ("serial_adapter", "ffn", "bias", 0.0, "true or false"),
        ("serial_adapter", "ffn", "bias", "false", "true or false"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(module, site, option, value, wanted, tiny_geometry):
    architecture = Architecture((place(module, site, 0, 4, **{option: value}),))
    (problem,) = problems_of(architecture, tiny_geometry("bert"))
    assert problem == f"{module}.options.{option} = {value!r}: must be {wanted}"


def test_keys_and_values_take_one_module(tiny_geometry, second_prefix):
    both = Architecture(tuple(place(name, "attention.kv", 1, 4) for name in ("prefix", second_prefix)))
    assert problems_of(both, tiny_geometry("bert")) == [
        "modules at attention.kv = 'prefix, second': it takes one module; keep one of them"
    ]
    apart = Architecture((place("prefix", "attention.kv", 0, 4), place(second_prefix, "attention.kv", 1, 4)))
    assert normalise(apart, tiny_geometry("bert")) == apart


@pytest.mark.parametrize("name", [name for name, module_type in TYPES.items() if module_type.sized])
def test_a_sized_type_needs_a_size_of_one_or_more(name, tiny_geometry):
    geometry = tiny_geometry("bert")
    site = next(site for site in geometry.sites if site.kind in TYPES[name].kinds)
    assert normalise(Architecture((place(name, site.name, 0, 1),)), geometry)
    (problem,) = problems_of(Architecture((place(name, site.name, 0, 0),)), geometry)
    assert problem == f"{name}.size = 0: must be 1 or more"


def test_full_options_fill_in_the_defaults():
    assert full_options(place("parallel_adapter", "ffn", 0, 4, bias=False)) == {
        "scale": 4.0,
        "bias": False,
        "gate": False,
    }


def test_the_count_adds_up_over_placements_and_is_zero_for_head_only(tiny_geometry):
    geometry = tiny_geometry("bert")
    parts = [place("lora", "attention.query", 0, 4), place("lora", "attention.query", 1, 2), place("ia3", "ffn.in", 0)]
    assert count_parameters(Architecture(), geometry) == 0
    assert [count_parameters(Architecture((part,)), geometry) for part in parts] == [4 * 64, 2 * 64, 48]
    assert count_parameters(Architecture(tuple(parts)), geometry) == 6 * 64 + 48


@pytest.mark.parametrize("function", [lambda p, g: count_parameters(Architecture((p,)), g), price])
def test_counting_a_place_that_does_not_exist_is_refused(function, tiny_geometry):
    with pytest.raises(InvalidInput, match="layer = 7"):
        function(place("ia3", "ffn.in", 7), tiny_geometry("bert"))


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
@pytest.mark.parametrize("name", TYPES)
def test_the_price_is_the_count_at_every_kind_of_site_with_all_options(name, family, tiny_geometry):
    values = {bool: (False, True), int: (1, 3), float: (0.5, 3.0)}
    defaults, geometry = TYPES[name].options, tiny_geometry(family)
    sizes = (1, 6) if TYPES[name].sized else (0,)
    for site in {s.name: s for s in geometry.sites if s.kind in TYPES[name].kinds}.values():
        for size, *chosen in product(sizes, *(values[type(default)] for default in defaults.values())):
            p = place(name, site.name, site.layer, size, **dict(zip(defaults, chosen, strict=True)))
            assert price(p, geometry) == count_parameters(Architecture((p,)), geometry)


def test_plans_and_the_contract_of_module_types_are_imported_without_torch():
    code = "import sys, autopeft.modules.plan, autopeft.modules.base; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
