"""Attach an architecture's modules to a frozen model by hooks, and take them off again without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autopeft.architecture import Architecture, Placement
from autopeft.geometry import ModelGeometry
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attention import keep_input, put_prefix, take_prefix, use_attention
from autopeft.modules.hooks import Change, SiteHook, cast_to_weights
from autopeft.modules.prefix import Prefix
from autopeft.modules.weights import Weights


class Attachment(Weights):
    """The weights of one architecture, in use by the model that they are for.

    The base model's own tensors are never written to: every module is reached by hooks. The model's head gives way to
    the fresh one, and is given back as it was by :meth:`detach`.

    Args:
        model: a transformers model with a task head; everything in it is frozen and put in evaluation mode, so that
            dropout inside the base is off in every trial alike.
        architecture: what to attach; normalised against the model's geometry.
        geometry: the model's geometry.
        seed: seeds the modules' and the head's initial weights, and nothing else.

    Raises:
        InvalidInput: the architecture does not fit the model.
    """

    def __init__(
        self, model: PreTrainedModel, architecture: Architecture, geometry: ModelGeometry, seed: int = 0
    ) -> None:
        super().__init__(model, architecture, geometry, seed)
        self._undo = ExitStack()
        self._gates: dict[str, Tensor] = {}
        try:
            self._put_head()
            self._hook_sites()
        except BaseException:  # the model is used again
            self.detach()
            raise

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def set_gates(self, gates: Mapping[str, Tensor]) -> None:
        """Let each named placement have a share of its effect: ``h <- h + z (delta(x, h) - h)``, until set anew.

        Args:
            gates: scalars ``z`` by placement key; a placement without one has its whole effect.

        Raises:
            ValueError: a placement is not there, or is a prefix, whose effect is no change of an ``h``.
        """
        for placement in self.placements:
            if placement.key in gates and self.geometry.site(placement.site, placement.layer).kind == "kv":
                raise ValueError(f"{placement.key}: a prefix cannot have a gate")
        if not gates.keys() <= set(self.modules):
            raise ValueError(f"gates of no placement: {sorted(gates.keys() - set(self.modules))[:5]}")
        self._gates.clear()
        self._gates.update(gates)

    def detach(self) -> None:
        """Take everything off the model again; it computes and holds what it did before. May be called twice."""
        self._undo.close()

    def _put_head(self) -> None:
        for name, parameter in self.head.items():
            owner_name, _, attribute = name.rpartition(".")
            owner = self.model.get_submodule(owner_name)
            self._undo.callback(setattr, owner, attribute, getattr(owner, attribute))
            setattr(owner, attribute, parameter)
        # The head stays in float32 on a base of any type, so what enters each of its layers is cast.
        for owner_name in sorted({name.rpartition(".")[0] for name in self.head}):
            owner = self.model.get_submodule(owner_name)
            self._undo.callback(owner.register_forward_pre_hook(cast_to_weights).remove)

    def _hook_sites(self) -> None:
        base = self.model.base_model
        for site, ordered in self.by_site():
            if site.kind == "kv":
                self._put_prefix(base.get_submodule(site.exit), ordered[0])
                continue
            needs_input = not all(MODULE_TYPES.get(p.module).sequential for p in ordered)
            for handle in SiteHook(site, self._change(ordered)).register(base, needs_input):
                self._undo.callback(handle.remove)

    def _change(self, placements: list[Placement]) -> Change:
        """Return what runs a site's deltas, each as far as its gate is open."""
        deltas = {placement.key: self.modules[placement.key] for placement in placements}

        def change(x: Tensor, h: Tensor) -> Tensor:
            for key, delta in deltas.items():
                changed = delta(x, h)
                gate = self._gates.get(key)
                # Exactly h at 0, and exactly what the delta gave at 1.
                h = changed if gate is None else torch.lerp(h, changed, gate.to(h.dtype))
            return h

        return change

    def _put_prefix(self, attention: nn.Module, placement: Placement) -> None:
        prefix = self.modules[placement.key]
        assert isinstance(prefix, Prefix)
        self._undo.callback(use_attention(self.model))
        put_prefix(attention, prefix)
        self._undo.callback(take_prefix, attention)
        if prefix.gate is not None:
            self._undo.callback(attention.register_forward_pre_hook(keep_input, with_kwargs=True).remove)
