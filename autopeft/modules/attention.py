"""The attention function that reads prefixes, registered with transformers under the name ``autopeft``.

Without a prefix it computes what transformers' ``sdpa`` computes. It also takes a faster way where torch's own is
slow: the backward pass of scaled-dot-product attention in bfloat16 on a CPU.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

from autopeft.modules.prefix import Prefix

IMPLEMENTATION = "autopeft"

# Keyed by the attention module and not stored on it: the base model's own attributes stay as they were.
_PREFIXES: WeakKeyDictionary[nn.Module, Prefix] = WeakKeyDictionary()


def put_prefix(attention: nn.Module, prefix: Prefix) -> None:
    """Let the attention module attend to the prefix from now on."""
    _PREFIXES[attention] = prefix


def take_prefix(attention: nn.Module) -> None:
    """Undo :func:`put_prefix`."""
    _PREFIXES.pop(attention, None)


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
    prefix = _PREFIXES.get(module)
    if prefix is not None:
        attention_mask = _mask(module, query, key, attention_mask, is_causal)
        key, value = _prepend(prefix, key, value)
        length = prefix.keys.shape[0]
        if attention_mask is not None:
            visible: Any = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = functional.pad(attention_mask, (length, 0), value=visible)
        if position_bias is not None:
            position_bias = functional.pad(position_bias, (length, 0))
    if _eager_is_faster(query, key, value, dropout):
        return _eager(module, query, key, value, attention_mask, scaling, is_causal, position_bias), None
    return sdpa_attention_forward(
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


def _prepend(prefix: Prefix, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    batch, heads, _, head_width = key.shape

    def split(rows: Tensor) -> Tensor:
        return rows.to(key.dtype).view(batch, -1, heads, head_width).transpose(1, 2)

    keys, values = prefix(batch)
    return torch.cat([split(keys), key], dim=2), torch.cat([split(values), value], dim=2)


def _mask(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool | None) -> Tensor | None:
    # As sdpa_attention_forward decides it: keys beyond the queries are free places of a cache, and not seen.
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    queries, keys = query.shape[2], key.shape[2]
    if mask is not None or not causal or queries == 1:
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
