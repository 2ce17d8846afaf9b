"""The last layer for the one token that the head reads: exact, and most of that layer's work is spared.

Keys and values are computed for all tokens; query, attention and feed-forward for the first alone. That takes an
encoder whose head reads its first token, and whose attention shapes what its linears give as BERT's does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from autopeft.modules.attach import Attachment
from autopeft.modules.attention import IMPLEMENTATION, read_all, read_first
from autopeft.modules.pack import Pack

Args = tuple[Any, ...]

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert")


class FirstToken:
    """Shortens the last layer of the model of an attachment or a pack, while :meth:`alone` lasts.

    Args:
        attached: on whatever model.
    """

    def __init__(self, attached: Attachment | Pack) -> None:
        geometry, model = attached.geometry, attached.model
        last = geometry.layers - 1
        # The gate of a prefix reads the mean over all tokens.
        gated = any(p.site == "attention.kv" and p.layer == last and p.options for p in attached.placements)
        self.possible = (
            geometry.model_type in FAMILIES and model.config._attn_implementation == IMPLEMENTATION and not gated
        )
        if self.possible:
            base = model.base_model
            self._layer = base.get_submodule(geometry.layer_paths[last])
            self._attention = base.get_submodule(geometry.site("attention.kv", last).exit)
            self._linears = [
                base.get_submodule(geometry.site(f"attention.{role}", last).exit) for role in ("key", "value")
            ]
        self._all: list[Tensor] = []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let the last layer give the first token's hidden states, of shape ``(batch, 1, width)``."""
        handles = [self._layer.register_forward_pre_hook(self._cut, with_kwargs=True)]
        # Before the hooks of modules at these linears, which are to see all tokens too.
        handles += [linear.register_forward_pre_hook(self._give_all, prepend=True) for linear in self._linears]
        read_first(self._attention)
        try:
            yield
        finally:
            read_all(self._attention)
            for handle in handles:
                handle.remove()
            self._all.clear()

    def _cut(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden, *rest = args
        self._all.append(hidden)
        # A view with gaps would have a linear in bfloat16 copy its weight once a row.
        first = hidden[:, :1].contiguous()
        return (first, *map(_first_query, rest)), {name: _first_query(given) for name, given in kwargs.items()}

    def _give_all(self, _: nn.Module, __: Args) -> tuple[Tensor]:
        return (self._all[-1],)


def _first_query(given: Any) -> Any:
    """Return a mask ``(batch, 1, queries, keys)`` for the first query, and anything else as it is."""
    return given[:, :, :1] if isinstance(given, Tensor) and given.dim() == 4 else given
