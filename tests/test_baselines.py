"""The hand-made configurations, counted by closed formulas of width d, feed-forward width f and layers n."""

import pytest
from transformers import AutoConfig, BertConfig

from autopeft.baselines import HEAD_ONLY, baselines
from autopeft.families import FAMILIES
from autopeft.geometry import ModelGeometry
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import normalise

NAMES = [
    HEAD_ONLY,
    "(IA)^3",
    "BitFit",
    "prefix 10",
    "LoRA r=8 q,v",
    "Pfeiffer adapter 48",
    "UniPELT",
    "MAM",
]


def counts(config):
    geometry = ModelGeometry.from_config(config.to_dict())
    return {name: count_parameters(normalise(a, geometry), geometry) for name, a in baselines(geometry).items()}


def test_bert_base():
    d, f, n = 768, 3072, 12
    lora, prefix, adapter = n * 2 * 8 * 2 * d, n * 2 * 10 * d, n * (2 * d * 48 + d + 48)
    assert lora == 294_912
    assert counts(BertConfig()) == {
        HEAD_ONLY: 0,
        "(IA)^3": n * (2 * d + f),
        "BitFit": n * (5 * d + f + 2 * d),  # query, key, value, output, ffn.out; ffn.in; two norms
        "prefix 10": prefix,
        "LoRA r=8 q,v": lora,
        "Pfeiffer adapter 48": adapter,
        "UniPELT": lora + prefix + adapter + n * (2 + 1 + 1) * (d + 1),  # a gate at q, v, the prefix, the adapter
        "MAM": n * (2 * 30 * d + 2 * d * d // 2 + d + d // 2),
    }


def test_gpt2s_fused_projection_stands_for_query_and_value():
    d, n = 768, 12
    assert counts(AutoConfig.for_model("gpt2"))["LoRA r=8 q,v"] == n * 8 * (d + 3 * d)


def test_llamas_grouped_heads_make_a_narrow_value_and_prefix():
    config = AutoConfig.for_model("llama", num_key_value_heads=8)
    d, kv, n = 4096, 1024, 32
    found = counts(config)
    assert found["LoRA r=8 q,v"] == n * 8 * (d + d + d + kv)
    assert found["prefix 10"] == n * 2 * 10 * kv


def test_t5_has_them_in_both_stacks_and_a_prefix_in_self_attention_alone():
    d, f, heads, n = 512, 2048, 512, 6
    found = counts(AutoConfig.for_model("t5"))
    assert found["LoRA r=8 q,v"] == 2 * n * 2 * 8 * (d + heads)
    assert found["prefix 10"] == 2 * n * 2 * 10 * heads
    assert found["(IA)^3"] == 2 * n * (2 * heads + f)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_has_those_that_it_has_sites_for_from_cheap_to_dear(family):
    geometry = ModelGeometry.from_config(AutoConfig.for_model(family).to_dict())
    made = baselines(geometry)
    without_prefix = [name for name in NAMES if name not in ("prefix 10", "UniPELT", "MAM")]
    assert list(made) == (NAMES if "attention.kv" in geometry.site_names else without_prefix)
    assert ("attention.kv" in geometry.site_names) == (family != "deberta-v2")
    for architecture in made.values():
        assert normalise(architecture, geometry) == architecture, "baselines are in their normal form"
    assert len({architecture.fingerprint for architecture in made.values()}) == len(made)
