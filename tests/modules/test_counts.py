"""Parameter counts against published figures, closed formulas and the real modules on the meta device."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoModel, BertConfig, LlamaConfig, T5Config

from autopeft.architecture import Architecture, Placement
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import option_problem

TYPES = MODULE_TYPES.all()
BERT_BASE = BertConfig()
BERT_BASE_PARAMETERS = 109_482_240
LLAMA_3B = LlamaConfig(
    hidden_size=3072,
    num_hidden_layers=28,
    num_attention_heads=24,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=8192,
    vocab_size=128_256,
)


def count(config, *placements, **options):
    """Count modules given as ``(type, site, size)``, each in every layer that has the site."""
    geometry = ModelGeometry.from_config(config.to_dict())
    return count_parameters(
        Architecture(
            tuple(
                Placement(module, site.name, site.layer, size, tuple(options.items()))
                for module, name, size in placements
                for site in geometry.sites
                if site.name == name
            )
        ),
        geometry,
    )


def lora(rank, *sites):
    return [("lora", site, rank) for site in sites]


def ia3(*sites):
    return [("ia3", site, 0) for site in sites]


def on_meta(config):
    with torch.device("meta"):
        return AutoModel.from_config(config)


def test_bert_base_has_the_parameters_that_percentages_are_of():
    assert sum(p.numel() for p in on_meta(BERT_BASE).parameters()) == BERT_BASE_PARAMETERS


ATTENTION_QV = ("attention.query", "attention.value")


@pytest.mark.parametrize(
    ("placements", "options", "params", "percent"),
    [
        pytest.param([("prefix", "attention.kv", 10)], {}, 184_320, 0.168, id="prefix-10"),
        pytest.param(lora(8, *ATTENTION_QV), {}, 294_912, 0.269, id="lora-8"),
        pytest.param([("serial_adapter", "ffn", 48)], {"bias": False}, 884_736, 0.808, id="serial-48"),
        pytest.param([("parallel_adapter", "ffn", 384)], {"bias": False}, 7_077_888, 6.465, id="parallel-384"),
    ],
)
def test_the_papers_single_types_on_bert_base(placements, options, params, percent):
    found = count(BERT_BASE, *placements, **options)
    assert found == params
    assert 100 * found / BERT_BASE_PARAMETERS == pytest.approx(percent, abs=5e-4)


def test_mam_on_bert_base():
    found = count(BERT_BASE, ("parallel_adapter", "ffn", 384), bias=False)
    found += count(BERT_BASE, ("prefix", "attention.kv", 30))
    assert 100 * found / BERT_BASE_PARAMETERS == pytest.approx(6.97, abs=5e-3)


def test_unipelt_without_gates_on_bert_base():
    found = count(BERT_BASE, *lora(8, *ATTENTION_QV), ("prefix", "attention.kv", 10))
    found += count(BERT_BASE, ("serial_adapter", "ffn", 48), bias=False)
    assert 100 * found / BERT_BASE_PARAMETERS == pytest.approx(1.245, abs=1e-3)


def test_unipelt_with_gates_on_bert_base():
    # In every layer one gate, a weight for each of 768 features and a bias, for each of query, value, prefix, adapter.
    gates = 12 * 4 * (768 + 1)
    found = count(BERT_BASE, *lora(8, *ATTENTION_QV), ("prefix", "attention.kv", 10), gate=True)
    found += count(BERT_BASE, ("serial_adapter", "ffn", 48), bias=False, gate=True)
    assert found == 294_912 + 184_320 + 884_736 + gates == 1_400_880


def test_s3deltas_low_rank_adapters_on_t5_large():
    t5_large = T5Config(
        vocab_size=32_100, d_model=1024, d_kv=64, d_ff=4096, num_layers=24, num_decoder_layers=24, num_heads=16
    )
    total = sum(p.numel() for p in on_meta(t5_large).parameters())
    found = count(t5_large, ("low_rank_adapter", "attention", 32), ("low_rank_adapter", "ffn", 32))
    assert found == 96 * ((1024 + 32 + 32) + (32 + 1024 + 1024)) == 304_128
    assert total == 737_639_424
    assert 1e4 * found / total == pytest.approx(4.12, abs=5e-3)


@pytest.mark.parametrize(
    ("placements", "params"),
    [
        pytest.param(lora(32, *ATTENTION_QV), 9_175_040, id="lora-32-qv"),
        pytest.param(lora(10, "ffn.gate", "ffn.in", "ffn.out"), 9_461_760, id="lora-10-mlp"),
        pytest.param(ia3("attention.key", "attention.value", "ffn.hidden"), 286_720, id="ia3-k-v-down"),
        pytest.param([("prefix", "attention.kv", 50)], 2_867_200, id="prefix-50"),
        pytest.param([("prefix", "attention.kv", 200)], 11_468_800, id="prefix-200"),
        pytest.param(
            [("layer_norm", f"norm.{role}", 0) for role in ("attention", "ffn", "final")], 175_104, id="layer-norm"
        ),
        pytest.param([("bitfit", "attention.value", 0)], 28_672, id="beft-v"),
    ],
)
def test_pefts_published_counts_on_llama_3b(placements, params):
    assert count(LLAMA_3B, *placements) == params


LLAMA_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LLAMA_SITES = [
    *(f"attention.{role}" for role in ("query", "key", "value", "output")),
    *(f"ffn.{role}" for role in ("gate", "in")),
]


def trainable_in_peft(config, peft_config):
    # One layer is enough: counts are the same in each.
    config = LlamaConfig.from_dict(config.to_dict() | {"num_hidden_layers": 1})
    with torch.device("meta"):
        model = get_peft_model(AutoModel.from_config(config), peft_config)
    return 28 * sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_lora_on_all_linears_of_llama_3b_counts_as_pefts():
    native = count(LLAMA_3B, *lora(16, *LLAMA_SITES, "ffn.out"))
    assert native == trainable_in_peft(LLAMA_3B, LoraConfig(r=16, target_modules=LLAMA_LINEARS))


def test_ia3_on_all_linears_of_llama_3b_counts_as_pefts_with_the_down_projection_as_feed_forward():
    peft = IA3Config(target_modules=LLAMA_LINEARS, feedforward_modules=["down_proj"])
    assert count(LLAMA_3B, *ia3(*LLAMA_SITES, "ffn.hidden")) == trainable_in_peft(LLAMA_3B, peft) == 917_504


def test_pefts_630784_for_ia3_on_all_linears_scales_the_inputs_of_gate_and_up_one_by_one():
    # No site of ours is the input of one linear of two that share it: scaling it once is `layer_norm` on `norm.ffn`.
    peft = IA3Config(target_modules=LLAMA_LINEARS, feedforward_modules=["gate_proj", "up_proj", "down_proj"])
    attention_and_down = count(LLAMA_3B, *ia3(*LLAMA_SITES[:4], "ffn.hidden"))
    gate_or_up_input = count(LLAMA_3B, ("layer_norm", "norm.ffn", 0))
    assert attention_and_down + 2 * gate_or_up_input == trainable_in_peft(LLAMA_3B, peft) == 630_784


widths = st.integers(1, 40)
option_values = {bool: st.booleans(), int: st.integers(1, 5), float: st.floats(-4, 4), str: st.text(max_size=3)}


def values_of(module_type, option):
    """Values that the option may have, none of them so small that its inverse is infinite."""
    values = option_values[type(module_type.options[option])].filter(lambda v: v == 0 or abs(v) > 1e-9)
    return values.filter(lambda value: option_problem(option, module_type, option, value) is None)


@st.composite
def built_anywhere(draw):
    """A module type with a site that it accepts, a size and options, of any widths."""
    module_type = TYPES[draw(st.sampled_from(sorted(TYPES)))]
    kind = draw(st.sampled_from(sorted(module_type.kinds)))
    in_width, out_width = draw(widths), draw(widths)
    if kind in ("sublayer", "norm"):
        in_width = out_width
    site = Site("site", 0, kind, "", "", in_width, out_width)
    size = draw(st.integers(1, 50)) if module_type.sized else 0
    options = {name: draw(values_of(module_type, name)) for name in module_type.options}
    return module_type, site, size, options


@given(built_anywhere())
def test_the_formula_is_the_count_of_the_module_on_meta_and_nothing_of_it_is_real(built):
    module_type, site, size, options = built
    with torch.device("meta"):
        module = module_type.build(site, size, options)
    assert sum(p.numel() for p in module.parameters()) == module_type.count(site, size, options)
    assert all(p.requires_grad and p.device.type == "meta" for p in module.parameters())
    assert not list(module.buffers())


@given(built_anywhere())
def test_the_learning_rate_is_above_zero_and_never_rises_with_the_size(built):
    module_type, site, size, options = built
    assert 0 < module_type.learning_rate(site, size, options) < float("inf")
    default = module_type.options
    assert module_type.learning_rate(site, 2 * size, default) <= module_type.learning_rate(site, size, default)


MATRIX_RATES = {  # at the width of the measurement, by type and size
    ("lora", 1): 1e-2,
    ("lora", 8): 5e-3,
    ("lora", 32): 2.5e-3,
    ("serial_adapter", 1): 2e-2,
    ("serial_adapter", 48): 5e-3,
    ("parallel_adapter", 1): 1e-2,
    ("parallel_adapter", 48): 3e-3,
    ("low_rank_adapter", 48): 5e-3,
}
VECTOR_RATES = {("prefix", 10): 1e-1, ("bitfit", 0): 4e-3, ("ia3", 0): 2e-2, ("layer_norm", 0): 2e-2}


@pytest.mark.parametrize("width", [384, 768, 4096])
@pytest.mark.parametrize(("name", "size"), MATRIX_RATES | VECTOR_RATES)
def test_with_default_options_the_learning_rate_is_the_measured_one(name, size, width):
    site = Site("site", 0, min(TYPES[name].kinds), "", "", width, width)
    wanted = VECTOR_RATES.get((name, size)) or MATRIX_RATES[name, size] * 384 / width
    assert TYPES[name].learning_rate(site, size, TYPES[name].options) == wanted


@pytest.mark.parametrize(
    ("name", "option", "factors"),
    [
        ("parallel_adapter", "scale", {1.0: 4, 4.0: 1, 8.0: 0.5}),
        ("lora", "alpha", {0.0: 1, 4.0: 4, 16.0: 1, 32.0: 0.5}),
    ],
)
def test_the_learning_rate_falls_as_an_option_multiplies_the_output(name, option, factors):
    site = Site("site", 0, min(TYPES[name].kinds), "", "", 384, 384)
    rates = {value: TYPES[name].learning_rate(site, 8, TYPES[name].options | {option: value}) for value in factors}
    measured = TYPES[name].learning_rate(site, 8, TYPES[name].options)
    assert {value: rate / measured for value, rate in rates.items()} == factors
    # A step of B, or of W_up, which start at zero, moves the output as far whatever the option is.
    x, moved = torch.ones(3, 384), []
    for value, rate in rates.items():
        torch.manual_seed(0)
        delta = TYPES[name].build(site, 8, TYPES[name].options | {option: value})
        up = delta.b if name == "lora" else delta.bottleneck.up.weight
        with torch.no_grad():
            up += rate
            moved.append(delta(x, torch.zeros(3, 384)))
    for other in moved[1:]:
        torch.testing.assert_close(other, moved[0])


@given(built_anywhere())
def test_a_delta_keeps_the_shape_of_what_it_changes_whatever_the_dimensions_before(built):
    module_type, site, size, options = built
    module = module_type.build(site, size, options)
    if site.kind == "kv":
        keys, values = module(2)
        assert keys.shape == values.shape == (2, size, site.out_width)
        return
    for shape in [(3,), (2, 3)]:
        x, h = torch.randn(*shape, site.in_width), torch.randn(*shape, site.out_width)
        # A type for the input of a linear does not read `x`, and gets `h` for it.
        changed = module(h if site.kind == "hidden" else x, h)
        assert changed.shape == h.shape
        if module_type.identity:
            assert torch.equal(changed, h)
