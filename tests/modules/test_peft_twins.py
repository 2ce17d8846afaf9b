"""Native LoRA and IA3 compute what HF peft's compute, with the same weights, on the same base."""

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model

from autopeft.architecture import Architecture, Placement
from autopeft.modules.attach import Attachment
from autopeft.modules.count import count_parameters


@pytest.fixture
def agree(tiny_model, tiny_geometry, tiny_batch):
    """Assert that native modules and their peft twin, with weights copied over, give the same logits and gradients."""

    def check(family, placements, peft_config, copy_weights):
        geometry, batch = tiny_geometry(family), tiny_batch(family, (5, 7, 3))
        base = tiny_model(family)
        head = {name: p.clone() for name, p in base.state_dict().items()}
        plain = base(**batch).logits.detach()
        attachment = Attachment(base, Architecture(tuple(placements)), geometry)
        for name, parameter in attachment.head.items():
            parameter.data.copy_(head[name])
        twin = get_peft_model(tiny_model(family), peft_config).eval()
        random = torch.Generator().manual_seed(9)
        pairs = []
        for placement in placements:
            native = attachment.modules[placement.key]
            path = geometry.site(placement.site, placement.layer).exit
            pairs += copy_weights(native, twin.base_model.model.base_model.get_submodule(path))
        with torch.no_grad():
            for ours, theirs in pairs:
                ours.add_(0.3 * torch.randn(ours.shape, generator=random))
                theirs.copy_(ours.view_as(theirs))
        trained = sum(p.numel() for p in twin.parameters() if p.requires_grad)
        assert trained == count_parameters(attachment.architecture, geometry) == sum(p.numel() for p, _ in pairs)

        ours, theirs = base(**batch), twin(**batch)
        assert (ours.logits - plain).abs().max() > 0.05
        torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)
        ours.loss.backward()
        theirs.loss.backward()
        for mine, other in pairs:
            torch.testing.assert_close(mine.grad, other.grad.view_as(mine), atol=1e-5, rtol=1e-3)

    return check


def copy_lora(native, twin):
    assert native.scale == twin.scaling["default"]
    return [(native.a, twin.lora_A["default"].weight), (native.b, twin.lora_B["default"].weight)]


def copy_ia3(native, twin):
    return [(native.scale, twin.ia3_l["default"])]


def everywhere(geometry, module, names, size=0, options=()):
    return [Placement(module, s.name, s.layer, size, options) for s in geometry.sites if s.name in names]


def paths(geometry, placements):
    return [geometry.site(p.site, p.layer).exit for p in placements]


LORA_SITES = {
    "bert": ["attention.query", "attention.value", "attention.output", "ffn.out"],
    "llama": ["attention.query", "attention.value", "ffn.gate", "ffn.out"],
    "t5": ["attention.query", "attention.output", "cross_attention.query", "cross_attention.value", "ffn.in"],
    "gpt2": ["attention.qkv", "ffn.out"],
    "deberta-v2": ["attention.query", "attention.key"],
}


@pytest.mark.parametrize("alpha", [0.0, 5.0])
@pytest.mark.parametrize("family", LORA_SITES)
def test_lora_computes_what_pefts_lora_computes(family, alpha, agree, tiny_geometry):
    geometry = tiny_geometry(family)
    placements = everywhere(geometry, "lora", LORA_SITES[family], 4, (("alpha", alpha),))
    config = LoraConfig(
        r=4, lora_alpha=alpha or 8, target_modules=paths(geometry, placements), fan_in_fan_out=family == "gpt2"
    )
    agree(family, placements, config, copy_lora)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_ranks_and_alphas_that_differ_by_layer_are_pefts_rank_and_alpha_patterns(family, agree, tiny_geometry):
    geometry = tiny_geometry(family)
    placements = [
        Placement("lora", "attention.query", layer, 2 + 3 * layer, (("alpha", 1.5 + layer),))
        for layer in range(geometry.layers)
    ]
    targets = paths(geometry, placements)
    config = LoraConfig(
        r=1,
        target_modules=targets,
        rank_pattern={path: p.size for path, p in zip(targets, placements, strict=True)},
        alpha_pattern={path: dict(p.options)["alpha"] for path, p in zip(targets, placements, strict=True)},
    )
    agree(family, placements, config, copy_lora)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_ia3_computes_what_pefts_ia3_computes(family, agree, tiny_geometry):
    geometry = tiny_geometry(family)
    attention = [f"{prefix}.{role}" for prefix in ("attention", "cross_attention") for role in ("key", "value")]
    outputs = everywhere(geometry, "ia3", attention)
    inputs = everywhere(geometry, "ia3", ["ffn.hidden"])
    config = IA3Config(target_modules=paths(geometry, outputs + inputs), feedforward_modules=paths(geometry, inputs))
    agree(family, outputs + inputs, config, copy_ia3)
