import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from autopeft.architecture import Architecture, Placement
from autopeft.families import FAMILIES
from autopeft.modules import attention
from autopeft.modules.attach import Attachment
from autopeft.modules.attention import IMPLEMENTATION, attend, put_prefix, take_prefix
from autopeft.modules.prefix import Prefix

close = torch.testing.assert_close
PREFIXED = sorted(set(FAMILIES) - {"deberta-v2"})  # every family but one calls transformers' attention interface

BATCH, HEADS, WIDTH = 2, 4, 8
MASKS = ("none", "bool", "float")


class Caller(nn.Module):
    """What the attention function reads of the module that calls it."""

    def __init__(self, is_causal, groups):
        super().__init__()
        self.is_causal = is_causal
        self.num_key_value_groups = groups


def case(mask, causal, groups, bias, queries=5, keys=5, dtype=torch.float32):
    """Random inputs of an attention function; a mask hides the second sentence's first places, as left padding."""
    random = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=random).to(dtype)

    visible = torch.ones(BATCH, 1, queries, keys, dtype=torch.bool)
    visible[1, :, :, :2] = False
    if causal:
        visible &= torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    visible[1, :, :2, :] |= ~visible[1, :, :2, :].any(
        -1, keepdim=True
    )  # a row of padding sees something, as sdpa needs
    masks = {
        "none": None,
        "bool": visible,
        "float": torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, -1e4),
    }
    return SimpleNamespace(
        module=Caller(causal, groups),
        tensors=(
            normal(BATCH, HEADS, queries, WIDTH),
            normal(BATCH, HEADS // groups, keys, WIDTH),
            normal(BATCH, HEADS // groups, keys, WIDTH),
        ),
        mask=masks[mask],
        options={"scaling": 1.0, "position_bias": normal(1, HEADS, queries, keys)} if bias else {},
    )


every_case = pytest.mark.parametrize(
    ("mask", "causal", "groups", "bias"),
    [
        (mask, causal, groups, bias)
        for mask in MASKS
        for causal in (False, True)
        for groups in (1, 2)
        for bias in (0, 1)
    ],
)


def by_hand(c, prefix=None):
    """Attention number by number: one query of one head at a time, in double precision."""
    query, key, value = (t.detach().double() for t in c.tensors)
    prefix_rows = () if prefix is None else (prefix.keys.detach().double(), prefix.values.detach().double())
    queries, keys = query.shape[2], key.shape[2]
    scaling, bias = c.options.get("scaling", WIDTH**-0.5), c.options.get("position_bias")
    out = torch.zeros(BATCH, queries, HEADS, WIDTH, dtype=torch.float64)
    for b in range(BATCH):
        for head in range(HEADS):
            kv = head // c.module.num_key_value_groups
            for q in range(queries):
                scores, rows = [], []
                own = slice(kv * WIDTH, (kv + 1) * WIDTH)
                for k, v in zip(*prefix_rows, strict=True):
                    scores.append(scaling * float(query[b, head, q] @ k[own]))
                    rows.append(v[own])
                for k in range(keys):
                    if c.mask is None and c.module.is_causal and queries > 1 and k > q:
                        continue
                    if c.mask is not None and c.mask.dtype == torch.bool and not c.mask[b, 0, q, k]:
                        continue
                    score = scaling * float(query[b, head, q] @ key[b, kv, k])
                    if bias is not None:
                        score += float(bias[0, head, q, k])
                    if c.mask is not None and c.mask.dtype != torch.bool:
                        score += float(c.mask[b, 0, q, k])
                    scores.append(score)
                    rows.append(value[b, kv, k])
                weights = [math.exp(score - max(scores)) for score in scores]
                out[b, q, head] = sum(w / sum(weights) * row for w, row in zip(weights, rows, strict=True))
    return out


@pytest.fixture
def no_sdpa(monkeypatch):
    """Any way through transformers' own function fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("sdpa was called")

    monkeypatch.setattr(attention, "sdpa_attention_forward", refuse)


@pytest.mark.parametrize("lengths", [(7, 7, 7), (5, 7, 3)], ids=["even", "padded"])
@pytest.mark.parametrize("family", PREFIXED)
def test_models_compute_bit_for_bit_what_they_compute_with_sdpa(family, lengths, tiny_model, tiny_batch):
    model, batch = tiny_model(family), tiny_batch(family, lengths)
    assert model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        expected = model(**batch).logits
        model.set_attn_implementation(IMPLEMENTATION)
        assert torch.equal(model(**batch).logits, expected)


@every_case
def test_without_a_prefix_it_is_sdpa(mask, causal, groups, bias):
    c = case(mask, causal, groups, bias)
    ours, weights = attend(c.module, *c.tensors, c.mask, **c.options)
    theirs, _ = sdpa_attention_forward(c.module, *c.tensors, c.mask, **c.options)
    assert torch.equal(ours, theirs) and weights is None
    close(ours.double(), by_hand(c), atol=1e-5, rtol=1e-5)


@every_case
def test_the_eager_way_agrees_with_sdpa_in_bfloat16_forward_and_backward(mask, causal, groups, bias, no_sdpa):
    c = case(mask, causal, groups, bias, dtype=torch.bfloat16)
    upstream = torch.randn(BATCH, 5, HEADS, WIDTH, generator=torch.Generator().manual_seed(2))
    results = []
    for function, dtype in ((attend, torch.bfloat16), (sdpa_attention_forward, torch.float32)):
        tensors = [t.to(dtype, copy=True).requires_grad_() for t in c.tensors]
        floating = c.mask is not None and c.mask.is_floating_point()
        options = {name: v.to(dtype) if isinstance(v, torch.Tensor) else v for name, v in c.options.items()}
        out, _ = function(c.module, *tensors, c.mask.to(dtype) if floating else c.mask, **options)
        assert out.dtype == dtype
        (out.float() * upstream).sum().backward()
        results.append([out.detach().float(), *(t.grad.float() for t in tensors)])
    for ours, exact in zip(*results, strict=True):
        close(ours, exact, atol=0.02 * exact.abs().max().item(), rtol=0.05)


@pytest.mark.parametrize("trained", [0, 1, 2], ids=["query", "key", "value"])
def test_the_eager_way_is_taken_whichever_input_is_trained(trained, no_sdpa):
    c = case("bool", False, 1, 0, dtype=torch.bfloat16)
    c.tensors[trained].requires_grad_()
    attend(c.module, *c.tensors, c.mask)


@pytest.mark.parametrize(
    ("dtype", "trained", "dropout"),
    [(torch.float32, True, 0.0), (torch.bfloat16, False, 0.0), (torch.bfloat16, True, 0.1)],
)
def test_elsewhere_sdpa_is_taken(dtype, trained, dropout, no_sdpa):
    c = case("bool", False, 1, 0, dtype=dtype)
    c.tensors[0].requires_grad_(trained)
    with pytest.raises(AssertionError, match="sdpa was called"):
        attend(c.module, *c.tensors, c.mask, dropout=dropout)


def test_evaluating_in_bfloat16_takes_sdpa_even_where_modules_train(no_sdpa):
    c = case("bool", False, 1, 0, dtype=torch.bfloat16)
    c.tensors[0].requires_grad_()
    with torch.no_grad(), pytest.raises(AssertionError, match="sdpa was called"):
        attend(c.module, *c.tensors, c.mask)


@pytest.fixture
def put():
    """``put(c)``: give the case's module a prefix of three, for as long as the test runs."""
    modules = []

    def give(c, std=1.0):
        prefix = Prefix(3, HEADS // c.module.num_key_value_groups * WIDTH, std)
        put_prefix(c.module, prefix)
        modules.append(c.module)
        return prefix

    yield give
    for module in modules:
        take_prefix(module)


@pytest.mark.parametrize("queries", [5, 1])
@every_case
@torch.no_grad()
def test_a_prefix_is_attended_to_before_all_keys_as_computed_by_hand(mask, causal, groups, bias, queries, put):
    c = case(mask, causal, groups, bias, queries=queries)
    prefix = put(c)
    ours, _ = attend(c.module, *c.tensors, c.mask, **c.options)
    assert ours.shape == (BATCH, queries, HEADS, WIDTH)
    close(ours.double(), by_hand(c, prefix), atol=1e-5, rtol=1e-5)
    assert (ours.double() - by_hand(c)).abs().max() > 0.1
    take_prefix(c.module)
    close(attend(c.module, *c.tensors, c.mask, **c.options)[0].double(), by_hand(c), atol=1e-5, rtol=1e-5)


@every_case
def test_a_prefix_takes_the_eager_way_in_bfloat16_too(mask, causal, groups, bias, put, no_sdpa):
    c = case(mask, causal, groups, bias, dtype=torch.bfloat16)
    prefix = put(c)
    ours, _ = attend(c.module, *c.tensors, c.mask, **c.options)  # the prefix alone needs the backward pass
    close(ours.double(), by_hand(c, prefix), atol=0.05, rtol=0.05)
    ours.float().sum().backward()
    assert prefix.values.grad.dtype == torch.float32 and prefix.values.grad.abs().max() > 0


@pytest.mark.parametrize("way", ["sdpa", "eager", "prefix"])
def test_free_places_of_a_cache_beyond_the_queries_are_not_seen(way, put):
    c = case("none", True, 1, 0, queries=3, keys=6, dtype=torch.bfloat16 if way == "eager" else torch.float32)
    c.tensors[0].requires_grad_(way == "eager")
    prefix = put(c) if way == "prefix" else None
    ours, _ = attend(c.module, *c.tensors, None)
    tolerance = 0.05 if way == "eager" else 1e-5
    close(ours.double(), by_hand(c, prefix), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("given", [True, False])
def test_a_caller_that_says_whether_it_is_causal_overrules_the_modules_own(given, put):
    c = case("none", not given, 1, 0)
    prefix = put(c)
    ours, _ = attend(c.module, *c.tensors, None, is_causal=given)
    c.module.is_causal = given
    close(ours.double(), by_hand(c, prefix), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", ["eager", "prefix"])
def test_a_module_that_does_not_say_is_causal_as_in_sdpa(way, put):
    c = case("none", True, 1, 0, dtype=torch.bfloat16 if way == "eager" else torch.float32)
    c.tensors[0].requires_grad_(way == "eager")
    prefix = put(c) if way == "prefix" else None
    expected = by_hand(c, prefix)
    del c.module.is_causal
    tolerance = 0.05 if way == "eager" else 1e-5
    close(attend(c.module, *c.tensors, None)[0].double(), expected, atol=tolerance, rtol=tolerance)


def with_prefixes(model, geometry, length=4):
    placements = tuple(Placement("prefix", s.name, s.layer, length) for s in geometry.sites if s.kind == "kv")
    attachment = Attachment(model, Architecture(placements), geometry)
    with torch.no_grad():
        for parameter in attachment.modules.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    return attachment


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_prefixes_are_what_a_cache_that_holds_them_computes(family, tiny_model, tiny_geometry, tiny_batch):
    batch, length = tiny_batch(family, (5, 7, 3)), 4
    model = tiny_model(family)
    attachment = with_prefixes(model, tiny_geometry(family), length)
    ours = model.base_model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state

    plain = tiny_model(family)
    heads = 2 if family == "llama" else 4
    cache = DynamicCache(config=plain.config)
    for layer, prefix in enumerate(attachment.modules.values()):
        keys, values = (rows.view(3, length, heads, 8).transpose(1, 2) for rows in prefix(3))
        cache.update(keys, values, layer)
    mask = torch.cat([torch.ones(3, length, dtype=torch.long), batch["attention_mask"]], dim=1)
    positions = torch.arange(7).expand(3, -1)
    theirs = plain.base_model(
        batch["input_ids"], attention_mask=mask, past_key_values=cache, position_ids=positions
    ).last_hidden_state
    real = batch["attention_mask"].bool()
    close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", PREFIXED)
def test_prefixes_train_in_every_family_in_bfloat16_as_in_float32(family, tiny_model, tiny_geometry, tiny_batch):
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_model(family, dtype)
        attachment = with_prefixes(model, tiny_geometry(family))
        model(**tiny_batch(family, (5, 7, 3))).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in attachment.modules.parameters()]))
        attachment.detach()
    assert gradients[0].abs().max() > 1e-4
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.95


@torch.no_grad()
def test_a_prefix_is_its_own_models_and_not_another_ones(tiny_model, tiny_geometry, tiny_batch):
    batch, one, other = tiny_batch("bert"), tiny_model("bert"), tiny_model("bert")
    before = other(**batch).logits
    attachment = with_prefixes(one, tiny_geometry("bert"))
    other.set_attn_implementation(IMPLEMENTATION)
    assert torch.equal(other(**batch).logits, before)
    assert sum(module in attention._PREFIXES for module in one.modules()) == 2
    attachment.detach()
    assert not any(module in attention._PREFIXES for module in one.modules())


@pytest.mark.parametrize("before", ["eager", "sdpa", IMPLEMENTATION])
@torch.no_grad()
def test_detaching_restores_whichever_implementation_the_model_had(before, tiny_model, tiny_geometry):
    model = tiny_model("t5")
    model.set_attn_implementation(before)
    attachment = with_prefixes(model, tiny_geometry("t5"))
    stacks = [model, model.base_model, model.base_model.encoder, model.base_model.decoder]
    assert {m.config._attn_implementation for m in stacks} == {IMPLEMENTATION}
    attachment.detach()
    assert {m.config._attn_implementation for m in stacks} == {before}
