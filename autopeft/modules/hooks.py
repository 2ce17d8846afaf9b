"""How a model is made to use what is trained beside it: hooks, which change what it computes and not what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from autopeft.architecture import Placement
from autopeft.geometry import Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attention import keep_input, take_prefix, use_attention

Change = Callable[[Tensor, Tensor], Tensor]


class Hooked:
    """What a model is made to use by hooks, until they are taken off again."""

    model: PreTrainedModel

    def __init__(self) -> None:
        self._undo = ExitStack()
        try:
            self._put_head()
            self._hook_sites()
        except BaseException:  # the model is used again
            self.detach()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def detach(self) -> None:
        """Take everything off the model again; it computes and holds what it did before. May be called twice."""
        self._undo.close()

    def _put_head(self) -> None:
        raise NotImplementedError

    def _hook_sites(self) -> None:
        raise NotImplementedError

    def _change(self, site: Site, change: Change, placements: Iterable[Placement]) -> None:
        """Let a site's representation be changed, by modules of these placements."""
        needs_input = not all(MODULE_TYPES.get(placement.module).sequential for placement in placements)
        for handle in SiteHook(site, change).register(self.model.base_model, needs_input):
            self._undo.callback(handle.remove)

    def _read_prefixes(self, site: Site, put: Callable[[nn.Module], None], *, gated: bool) -> None:
        """Let the attention of a site read what is put there."""
        attention = self.model.base_model.get_submodule(site.exit)
        self._undo.callback(use_attention(self.model))
        put(attention)
        self._undo.callback(take_prefix, attention)
        if gated:
            self._undo.callback(attention.register_forward_pre_hook(keep_input, with_kwargs=True).remove)


class SiteHook:
    """Puts in the place of a site's representation ``h`` what ``change(x, h)`` makes of it, as the model computes it.

    Args:
        site: any but one of keys and values.
        change: takes and gives tensors of the site's shapes.
    """

    def __init__(self, site: Site, change: Change) -> None:
        self.site = site
        self.change = change
        self._x: Tensor | None = None

    def register(self, base: nn.Module, needs_input: bool) -> list[RemovableHandle]:
        """Hook onto the base model.

        Args:
            base: the model without its head.
            needs_input: whether the change reads ``x``; else it may be given any tensor for it.
        """
        exit_module = base.get_submodule(self.site.exit)
        handles = []
        if needs_input and self.site.entry != self.site.exit:
            entry = base.get_submodule(self.site.entry)
            handles.append(entry.register_forward_pre_hook(self._capture, with_kwargs=True))
        if self.site.kind == "hidden":
            handles.append(exit_module.register_forward_pre_hook(self._change_input))
        else:
            handles.append(exit_module.register_forward_hook(self._change_output))
        return handles

    def _capture(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._x = args[0] if args else kwargs["hidden_states"]

    def _change_input(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._changed(args[0], args[0]), *args[1:])

    def _change_output(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return self._changed(args[0], output)

    def _changed(self, x: Tensor, h: Tensor) -> Tensor:
        if self._x is not None:
            x, self._x = self._x, None
        return self.change(x, h)


def cast_to_weights(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give a layer its inputs in the type of its own parameters; a forward pre-hook."""
    dtype = next(module.parameters()).dtype
    return tuple(a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
