"""Attach an architecture's modules to a frozen model by hooks, and take them off again without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from autopeft.architecture import Architecture, Placement
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attention import IMPLEMENTATION, keep_input, put_prefix, take_prefix
from autopeft.modules.plan import full_options, normalise
from autopeft.modules.prefix import Prefix

HEAD = "head."
MODULES = "modules."


class Attachment:
    """The modules of one architecture on one model, and the model's task head, ready to train.

    The base model's own tensors are never written to: every module is reached by hooks. The head is re-initialised
    from the seed, and given back as it was by :meth:`detach`.

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
        self.model = model
        self.geometry = geometry
        self.architecture = normalise(architecture, geometry)
        self._handles: list[RemovableHandle] = []
        self._undo: list[Callable[[], None]] = []
        self._gates: dict[str, Tensor] = {}
        model.requires_grad_(False)
        model.train(False)
        try:
            self._attach(seed)
        except BaseException:  # the model is used again
            self.detach()
            raise

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return what trains, by module type, and under ``head``."""
        groups: dict[str, list[nn.Parameter]] = {"head": list(self.head.values())}
        for placement in self.architecture.placements:
            groups.setdefault(placement.module, []).extend(self.modules[placement.key].parameters())
        return groups

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all trained tensors: ``modules.<placement>.<name>`` and ``head.<name>``, in float32."""
        tensors = {MODULES + name: tensor for name, tensor in self.modules.state_dict().items()}
        tensors |= {HEAD + name: tensor for name, tensor in self.head.items()}
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the trained tensors from :meth:`state_dict`.

        Raises:
            ValueError: names or shapes differ from this attachment's own.
        """
        own = {MODULES + name: tensor for name, tensor in self.modules.state_dict().items()}
        own |= {HEAD + name: parameter.data for name, parameter in self.head.items()}
        if own.keys() != state.keys():
            raise ValueError(f"trained tensors do not fit: {sorted(own.keys() ^ state.keys())[:5]}")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(f"{name}: shape {tuple(state[name].shape)} does not fit {tuple(tensor.shape)}")
            tensor.copy_(state[name])

    def set_gates(self, gates: Mapping[str, Tensor]) -> None:
        """Let each named placement have a share of its effect: ``h <- h + z (delta(x, h) - h)``, until set anew.

        Args:
            gates: scalars ``z`` by placement key; a placement without one has its whole effect.

        Raises:
            ValueError: a placement is not there, or is a prefix, whose effect is no change of an ``h``.
        """
        for placement in self.architecture.placements:
            if placement.key in gates and self.geometry.site(placement.site, placement.layer).kind == "kv":
                raise ValueError(f"{placement.key}: a prefix cannot have a gate")
        if not gates.keys() <= set(self.modules):
            raise ValueError(f"gates of no placement: {sorted(gates.keys() - set(self.modules))[:5]}")
        self._gates.clear()
        self._gates.update(gates)

    @property
    def boundary(self) -> int:
        """Number of layers, from the first, that nothing is attached to and that compute what they always do."""
        return min((placement.layer for placement in self.architecture.placements), default=self.geometry.layers)

    def by_site(self) -> list[tuple[Site, list[Placement]]]:
        """Return the placements of every site that has any, both in the order of computation.

        Where two sites share a module of the model, the inner one changes its output first.
        """
        found: dict[Site, list[Placement]] = {}
        for placement in self.architecture.placements:
            found.setdefault(self.geometry.site(placement.site, placement.layer), []).append(placement)
        return [
            (site, sorted(found[site], key=lambda p: (MODULE_TYPES.get(p.module).sequential, p.module)))
            for site in self.geometry.sites
            if site in found
        ]

    def detach(self) -> None:
        """Take everything off the model again; it computes and holds what it did before. May be called twice."""
        for handle in self._handles:
            handle.remove()
        for undo in reversed(self._undo):
            undo()
        self._handles.clear()
        self._undo.clear()

    def _attach(self, seed: int) -> None:
        device = next(self.model.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # The head draws first, so that every architecture starts from the same one.
            self.head = _renew_head(self.model, self._undo)
            placements = self.architecture.placements
            self.modules = nn.ModuleDict({p.key: _build(p, self.geometry) for p in placements})
            self.modules.to(device)
        self._hook_head()
        self._hook_sites()

    def _hook_head(self) -> None:
        # The head stays in float32 on a base of any type, so what enters each of its layers is cast.
        owners = {name.rpartition(".")[0] for name in self.head}
        for owner in sorted(owners):
            self._handles.append(self.model.get_submodule(owner).register_forward_pre_hook(_cast_to_weights))

    def _hook_sites(self) -> None:
        base = self.model.base_model
        for site, ordered in self.by_site():
            if site.kind == "kv":
                self._put_prefix(base.get_submodule(site.exit), ordered[0])
                continue
            hook = _SiteHook(site, {p.key: self.modules[p.key] for p in ordered}, self._gates)
            needs_input = not all(MODULE_TYPES.get(p.module).sequential for p in ordered)
            self._handles.extend(hook.register(base, needs_input))

    def _put_prefix(self, attention: nn.Module, placement: Placement) -> None:
        prefix = self.modules[placement.key]
        assert isinstance(prefix, Prefix)
        before = self.model.config._attn_implementation
        if before != IMPLEMENTATION:
            self.model.set_attn_implementation(IMPLEMENTATION)
            self._undo.append(lambda: self.model.set_attn_implementation(before))
        put_prefix(attention, prefix)
        self._undo.append(lambda: take_prefix(attention))
        if prefix.gate is not None:
            self._handles.append(attention.register_forward_pre_hook(keep_input, with_kwargs=True))


class _SiteHook:
    """Runs a site's deltas on the representation ``h`` as the model computes it, each as far as its gate is open."""

    def __init__(self, site: Site, deltas: dict[str, nn.Module], gates: Mapping[str, Tensor]) -> None:
        self.site = site
        self.deltas = deltas
        self.gates = gates
        self._x: Tensor | None = None

    def register(self, base: nn.Module, needs_input: bool) -> list[RemovableHandle]:
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
        return (self._change(args[0], args[0]), *args[1:])

    def _change_output(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return self._change(args[0], output)

    def _change(self, x: Tensor, h: Tensor) -> Tensor:
        if self._x is not None:
            x, self._x = self._x, None
        for key, delta in self.deltas.items():
            changed = delta(x, h)
            gate = self.gates.get(key)
            # Exactly h at 0, and exactly what the delta gave at 1.
            h = changed if gate is None else torch.lerp(h, changed, gate.to(h.dtype))
        return h


def head_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the task head: every parameter outside the base model, by its name in the model."""
    base = model.base_model_prefix + "."
    return {name: parameter for name, parameter in model.named_parameters() if not name.startswith(base)}


def _build(placement: Placement, geometry: ModelGeometry) -> nn.Module:
    site = geometry.site(placement.site, placement.layer)
    return MODULE_TYPES.get(placement.module).build(site, placement.size, full_options(placement))


def _renew_head(model: PreTrainedModel, undo: list[Callable[[], None]]) -> dict[str, nn.Parameter]:
    std = getattr(model.config, "initializer_range", 0.02)
    renewed = {}
    for name, old in head_parameters(model).items():
        owner_name, _, attribute = name.rpartition(".")
        owner = model.get_submodule(owner_name)
        fresh = torch.zeros(old.shape, dtype=torch.float32)
        if old.dim() > 1:
            nn.init.normal_(fresh, std=std)
        elif attribute == "weight":  # the gain of a norm
            nn.init.ones_(fresh)
        parameter = nn.Parameter(fresh.to(old.device))
        setattr(owner, attribute, parameter)
        undo.append(partial(setattr, owner, attribute, old))
        renewed[name] = parameter
    return renewed


def _cast_to_weights(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters()).dtype
    return tuple(a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
