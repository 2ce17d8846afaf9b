"""The attention function that reads prefixes, registered with transformers under the name ``autopeft``.

Without a prefix it computes what transformers' ``sdpa`` computes. It also takes a faster way where torch's own is
slow: the backward pass of scaled-dot-product attention in bfloat16 on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

from autopeft.modules.prefix import Prefix

IMPLEMENTATION = "autopeft"

# Whose rows of a batch read which prefix: from the batch's rows to those of each part, one after another, and its
# prefix, if any.
Parts = Callable[[int], Sequence[tuple[int, Prefix | None]]]

# Keyed by the attention module and not stored on it: the base model's own attributes stay as they were.
_PREFIXES: WeakKeyDictionary[nn.Module, Parts] = WeakKeyDictionary()
# What modules with a gated prefix were called with, from their call until they attend.
_INPUTS: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()
# Modules that were called with the first token alone, beside the keys and values of all.
_FIRST: WeakSet[nn.Module] = WeakSet()


def use_attention(model: PreTrainedModel) -> Callable[[], None]:
    """Let the model attend by :func:`attend`; return what undoes that."""
    before = model.config._attn_implementation
    if before == IMPLEMENTATION:
        return lambda: None
    model.set_attn_implementation(IMPLEMENTATION)
    return lambda: model.set_attn_implementation(before)


def put_prefix(attention: nn.Module, prefix: Prefix) -> None:
    """Let the attention module attend to the prefix from now on."""
    put_prefixes(attention, lambda rows: ((rows, prefix),))


def put_prefixes(attention: nn.Module, parts: Parts) -> None:
    """Let each part of a batch attend to a prefix of its own from now on."""
    _PREFIXES[attention] = parts


def take_prefix(attention: nn.Module) -> None:
    """Undo :func:`put_prefix` or :func:`put_prefixes`."""
    _PREFIXES.pop(attention, None)
    _INPUTS.pop(attention, None)


def read_first(attention: nn.Module) -> None:
    """Expect the module to be called with the first token alone, and its key and value linears with all tokens.

    Such a module, as BERT's, shapes keys like queries: ``(batch, keys * heads, 1, head_width)``, which is put right.
    """
    _FIRST.add(attention)


def read_all(attention: nn.Module) -> None:
    """Undo :func:`read_first`."""
    _FIRST.discard(attention)


def keep_input(attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Keep what the attention module reads for its prefix's gate; a forward pre-hook."""
    _INPUTS[attention] = args[0] if args else kwargs["hidden_states"]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does, with the module's prefix, if any, before keys and values.

    Shapes: query ``(batch, heads, queries, head_width)``, key and value ``(batch, kv_heads, keys, head_width)``,
    mask ``(batch, 1, queries, keys)`` or None; the result is ``(batch, queries, heads, head_width)``.
    """
    if module in _FIRST:
        key, value = _by_head(key, query.shape[1]), _by_head(value, query.shape[1])
    read = _INPUTS.pop(module, None)
    parts = _PREFIXES[module](len(query)) if module in _PREFIXES else ((len(query), None),)
    given = (query, key, value, attention_mask, position_bias, read)
    cut = zip(*(_split(tensor, [rows for rows, _ in parts]) for tensor in given), strict=True)
    outs = [
        _attend_to(prefix, module, *part, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs)
        for (_, prefix), part in zip(parts, cut, strict=True)
    ]
    return outs[0] if len(outs) == 1 else torch.cat(outs), None


def _split(given: Tensor | None, rows: Sequence[int]) -> Sequence[Any]:
    """Return each part's rows of what is there for every row, or what is there for all alike."""
    if given is None or len(given) == 1 or len(rows) == 1:
        return [given] * len(rows)
    return torch.split(given, list(rows))


def _attend_to(
    prefix: Prefix | None,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_bias: Tensor | None,
    read: Tensor | None,
    *,
    dropout: float,
    scaling: float | None,
    is_causal: bool | None,
    **kwargs: Any,
) -> Tensor:
    gate = None
    if prefix is not None:
        gate = _gate(module, prefix, read, attention_mask, is_causal)
        attention_mask = _mask(module, query, key, attention_mask, is_causal)
        if gate is not None:
            scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
            query = torch.cat([query, query * gate], dim=-1)
        key, value = _prepend(prefix, key, value, apart=gate is not None)
        length = prefix.keys.shape[0]
        if attention_mask is not None:
            visible: Any = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = functional.pad(attention_mask, (length, 0), value=visible)
        if position_bias is not None:
            position_bias = functional.pad(position_bias, (length, 0))
    if _eager_is_faster(query, key, value, dropout):
        out = _eager(module, query, key, value, attention_mask, scaling, is_causal, position_bias)
    else:
        out, _ = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **kwargs,
        )
    if gate is not None:
        own, prefixed = out.chunk(2, dim=-1)
        out = own + prefixed * gate.transpose(1, 2)
    return out


def _by_head(rows: Tensor, heads: int) -> Tensor:
    batch, rows_and_heads, _, head_width = rows.shape
    return rows.reshape(batch, rows_and_heads // heads, heads, head_width).transpose(1, 2)


def _prepend(prefix: Prefix, key: Tensor, value: Tensor, *, apart: bool) -> tuple[Tensor, Tensor]:
    batch, heads, _, head_width = key.shape

    def join(rows: Tensor, own: Tensor) -> Tensor:
        rows = rows.to(own.dtype).view(batch, -1, heads, head_width).transpose(1, 2)
        if apart:
            # The model's own in the first half of the features, the prefix's in the second: a query reads each with
            # half of its own, and so gates the prefix by itself, in one softmax and in any implementation.
            rows, own = functional.pad(rows, (head_width, 0)), functional.pad(own, (0, head_width))
        return torch.cat([rows, own], dim=2)

    keys, values = prefix(batch)
    return join(keys, key), join(values, value)


def _gate(
    module: nn.Module, prefix: Prefix, read: Tensor | None, mask: Tensor | None, is_causal: bool | None
) -> Tensor | None:
    """Return the prefix's gate for what the module ``read``.

    Its shape is ``(batch, 1, queries, 1)``, or for all queries alike ``(batch, 1, 1, 1)``.
    """
    if prefix.gate is None:
        return None
    gates: Tensor = prefix.gate(read)
    one_by_one = prefix.crossing or _is_causal(module, is_causal)
    return (gates if one_by_one else _mean_of_visible(gates, mask))[:, None]


def _mean_of_visible(gates: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean ``(batch, 1, 1)`` of ``(batch, tokens, 1)`` over the tokens that the last query may see."""
    if mask is None:
        return gates.mean(dim=1, keepdim=True)
    last = mask[:, 0, -1, :, None]
    visible = (last if last.dtype == torch.bool else last == 0).to(gates.dtype)
    return (gates * visible).sum(dim=1, keepdim=True) / visible.sum(dim=1, keepdim=True).clamp(min=1)


def _is_causal(module: nn.Module, is_causal: bool | None) -> bool:
    return bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)


def _mask(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool | None) -> Tensor | None:
    # As sdpa_attention_forward decides it: keys beyond the queries are free places of a cache, and not seen.
    queries, keys = query.shape[2], key.shape[2]
    if mask is not None or not _is_causal(module, is_causal) or queries == 1:
        return mask
    return torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril()[None, None]


def _eager_is_faster(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> bool:
    # torch 2.13's CPU kernel needs about 15 times as long for this backward as two matrix products and a softmax do.
    needs_backward = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    return needs_backward and query.dtype == torch.bfloat16 and query.device.type == "cpu" and dropout == 0.0


def _eager(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    is_causal: bool | None,
    position_bias: Tensor | None,
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    mask = _mask(module, query, key, mask, is_causal)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    if mask is not None:
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


AttentionInterface.register(IMPLEMENTATION, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, sdpa_mask)
