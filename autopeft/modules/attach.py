"""Attach an architecture's modules to a frozen model by hooks, and take them off again without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autopeft.architecture import Architecture, Placement
from autopeft.geometry import ModelGeometry
from autopeft.modules.attention import put_prefix
from autopeft.modules.hooks import Change, Hooked, cast_to_weights
from autopeft.modules.prefix import Prefix
from autopeft.modules.weights import Weights


class Attachment(Weights, Hooked):
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
        Weights.__init__(self, model, architecture, geometry, seed)
        self._gates: dict[str, Tensor] = {}
        Hooked.__init__(self)

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
        for site, ordered in self.by_site():
            if site.kind == "kv":
                (placement,) = ordered
                prefix = self.modules[placement.key]
                assert isinstance(prefix, Prefix), f"{placement.module}: what goes to a kv site is a Prefix"
                self._read_prefixes(site, partial(put_prefix, prefix=prefix), gated=prefix.gate is not None)
            else:
                self._change(site, self._gated(ordered), ordered)

    def _gated(self, placements: list[Placement]) -> Change:
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
