"""Gated prefixes: whose gate multiplies what, and what a token may learn from it."""

import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.modules.attach import Attachment
from autopeft.modules.attention import _INPUTS, IMPLEMENTATION

close = torch.testing.assert_close
LENGTH = 4


@pytest.fixture
def gate_prefixes(tiny_model, tiny_geometry):
    """``gate_prefixes(family)``: a model with gated prefixes everywhere, far from their start; what is attached."""

    def make(family, dtype=torch.float32, gate=True):
        model, geometry = tiny_model(family, dtype), tiny_geometry(family)
        places = [s for s in geometry.sites if s.kind == "kv"]
        placements = tuple(Placement("prefix", s.name, s.layer, LENGTH, (("gate", gate),)) for s in places)
        attachment = Attachment(model, Architecture(placements), geometry)
        random = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in attachment.modules.parameters():
                parameter.normal_(generator=random)
        return model, attachment

    return make


def gates_of(prefix, x):
    """The gate of every token, by hand."""
    return (prefix.gate.pace * (x @ prefix.gate.weight.T + prefix.gate.bias)).sigmoid()


@torch.no_grad()
def test_an_encoders_gate_is_its_mean_over_the_sentence_and_multiplies_keys_and_values(gate_prefixes, tiny_batch):
    gated, attachment = gate_prefixes("bert")
    plain, twin = gate_prefixes("bert", gate=False)
    for key, prefix in attachment.modules.items():
        twin.modules[key].keys.copy_(prefix.keys)
        twin.modules[key].values.copy_(prefix.values)
    first = next(p.key for p in attachment.architecture.placements if p.layer == 0)
    twin_first = twin.modules[twin.architecture.placements[0].key]
    seen = {}
    for name, model in (("gated", gated), ("plain", plain)):
        attention = model.base_model.encoder.layer[0].attention.self
        attention.register_forward_hook(lambda m, args, out, name=name: seen.update({name: (args[0], out[0])}))
    batch = tiny_batch("bert", (5, 7, 3))
    mask = batch["attention_mask"][..., None]
    gated(**batch)
    x, ours = seen["gated"]
    gates = (gates_of(attachment.modules[first], x) * mask).sum(1) / mask.sum(1)
    assert gates.std() > 0.01
    for row, gate in enumerate(gates):  # an ungated prefix, scaled by hand, one sentence at a time
        prefix = attachment.modules[first]
        twin_first.keys.copy_(prefix.keys * gate)
        twin_first.values.copy_(prefix.values * gate)
        plain(**batch)
        close(ours[row], seen["plain"][1][row], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_in_a_causal_model_every_token_has_its_own_gate(family, gate_prefixes, tiny_batch):
    model, attachment = gate_prefixes(family)
    prefix = attachment.modules[attachment.architecture.placements[0].key]
    attention = model.get_submodule(f"{model.base_model_prefix}.{attachment.geometry.site('attention.kv', 0).exit}")
    seen = []
    attention.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    attention.register_forward_hook(lambda m, args, out: seen.append(out[0]))
    ids = tiny_batch(family)["input_ids"]
    model.base_model(ids)
    x, ours = seen
    gates = gates_of(prefix, x)
    keys, values = prefix.keys.clone(), prefix.values.clone()
    prefix.gate.weight.zero_()  # from here on every gate is open
    prefix.gate.bias.fill_(1e4)
    for row in range(len(ids)):
        for token in range(ids.shape[1]):
            prefix.keys.copy_(keys * gates[row, token])
            prefix.values.copy_(values * gates[row, token])
            model.base_model(ids)
            close(ours[row, token], seen[-1][row, token], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_causal_models_token_learns_nothing_of_later_ones(family, dtype, gate_prefixes, tiny_batch):
    model, _ = gate_prefixes(family, dtype)
    ids = tiny_batch(family)["input_ids"]
    others = torch.cat([ids[:, :4], ids[:, 4:].flip(0)], dim=1)

    def hidden(tokens):
        more = {"decoder_input_ids": tokens, "input_ids": ids} if family == "t5" else {"input_ids": tokens}
        return model.base_model(**more).last_hidden_state

    before, after = hidden(ids), hidden(others)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-2
    close(before[:, :4], after[:, :4], atol=tolerance, rtol=tolerance)
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 0.1


@torch.no_grad()
def test_tokens_that_come_one_by_one_after_a_cache_are_computed_as_all_at_once(gate_prefixes, tiny_batch):
    model, _ = gate_prefixes("llama")
    ids = tiny_batch("llama")["input_ids"]
    expected = model.base_model(ids).last_hidden_state
    start = model.base_model(ids[:, :4], use_cache=True)
    parts, cache = [start.last_hidden_state], start.past_key_values
    for token in range(4, ids.shape[1]):
        step = model.base_model(ids[:, token : token + 1], past_key_values=cache, use_cache=True)
        parts.append(step.last_hidden_state)
    close(torch.cat(parts, dim=1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_gated_prefixes_train_in_bfloat16_as_in_float32(family, gate_prefixes, tiny_batch):
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model, attachment = gate_prefixes(family, dtype)
        model(**tiny_batch(family, (5, 7, 3))).loss.backward()
        gradients.append([p.grad for m in attachment.modules.values() for p in m.gate.parameters()])
        assert all(gradient.dtype == torch.float32 for gradient in gradients[-1])
    exact, ours = (torch.cat([gradient.flatten() for gradient in own]) for own in gradients)
    assert exact.abs().max() > 1e-5
    assert torch.nn.functional.cosine_similarity(exact, ours, dim=0) > 0.95


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_a_mask_of_any_type_says_which_tokens_the_mean_is_over(dtype, gate_prefixes, tiny_batch):
    model, _ = gate_prefixes("bert")
    batch = tiny_batch("bert", (5, 7, 3))
    visible = batch["attention_mask"].bool()[:, None, None, :].expand(-1, 1, 7, 7)
    mask = visible if dtype == torch.bool else torch.zeros(visible.shape).masked_fill(~visible, -1e4)
    ours = model.base_model(batch["input_ids"], attention_mask=mask).last_hidden_state
    theirs = model.base_model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_input_is_kept_only_until_it_is_read_and_only_for_gates(gate_prefixes, tiny_batch):
    for gate in (True, False):
        model, attachment = gate_prefixes("bert", gate=gate)
        attentions = [layer.attention.self for layer in model.base_model.encoder.layer]
        assert [len(a._forward_pre_hooks) for a in attentions] == [int(gate)] * 2
        model(**tiny_batch("bert"))
        assert not any(a in _INPUTS for a in attentions)
        attachment.detach()
        assert [len(a._forward_pre_hooks) for a in attentions] == [0, 0]
        assert model.config._attn_implementation != IMPLEMENTATION
