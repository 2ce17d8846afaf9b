"""What one architecture trains on a model: its modules and a task head, apart from how the model comes to use them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autopeft.architecture import Architecture, Placement
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.plan import full_options, normalise

HEAD = "head."
MODULES = "modules."


class Weights:
    """The modules of one architecture and a fresh task head, on the model's device and in float32.

    Args:
        model: a transformers model with a task head; it is frozen and put in evaluation mode, so that dropout inside
            the base is off in every trial alike, and left alone otherwise.
        architecture: normalised against the model's geometry.
        geometry: the model's geometry.
        seed: seeds the modules' and the head's initial values, and nothing else.

    Attributes:
        head: the head's parameters, by their names in the model.
        modules: the modules, by their placements' keys.

    Raises:
        InvalidInput: the architecture does not fit the model.
    """

    def __init__(
        self, model: PreTrainedModel, architecture: Architecture, geometry: ModelGeometry, seed: int = 0
    ) -> None:
        self.model = model
        self.geometry = geometry
        self.architecture = normalise(architecture, geometry)
        model.requires_grad_(False)
        model.train(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # The head draws first, so that every architecture starts from the same one.
            self.head = _fresh_head(model)
            self.modules = nn.ModuleDict({p.key: _build(p, geometry) for p in self.architecture.placements})
            self.modules.to(next(model.parameters()).device)

    @property
    def placements(self) -> tuple[Placement, ...]:
        """What the architecture puts where."""
        return self.architecture.placements

    @property
    def boundary(self) -> int:
        """Number of layers, from the first, that nothing is attached to and that compute what they always do."""
        return min((placement.layer for placement in self.placements), default=self.geometry.layers)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return what trains, by module type, and under ``head``."""
        groups: dict[str, list[nn.Parameter]] = {"head": list(self.head.values())}
        for placement in self.placements:
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
            ValueError: names or shapes differ from these weights' own.
        """
        own = {MODULES + name: tensor for name, tensor in self.modules.state_dict().items()}
        own |= {HEAD + name: parameter.data for name, parameter in self.head.items()}
        if own.keys() != state.keys():
            raise ValueError(f"trained tensors do not fit: {sorted(own.keys() ^ state.keys())[:5]}")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(f"{name}: shape {tuple(state[name].shape)} does not fit {tuple(tensor.shape)}")
            tensor.copy_(state[name])

    def by_site(self) -> list[tuple[Site, list[Placement]]]:
        """Return the placements of every site that has any, both in the order of computation.

        Where two sites share a module of the model, the inner one changes its output first.
        """
        found: dict[Site, list[Placement]] = {}
        for placement in self.placements:
            found.setdefault(self.geometry.site(placement.site, placement.layer), []).append(placement)
        return [
            (site, sorted(found[site], key=lambda p: (MODULE_TYPES.get(p.module).sequential, p.module)))
            for site in self.geometry.sites
            if site in found
        ]


def head_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the task head: every parameter outside the base model, by its name in the model."""
    base = model.base_model_prefix + "."
    return {name: parameter for name, parameter in model.named_parameters() if not name.startswith(base)}


def _build(placement: Placement, geometry: ModelGeometry) -> nn.Module:
    site = geometry.site(placement.site, placement.layer)
    return MODULE_TYPES.get(placement.module).build(site, placement.size, full_options(placement))


def _fresh_head(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    std = getattr(model.config, "initializer_range", 0.02)
    fresh = {}
    for name, old in head_parameters(model).items():
        values = torch.zeros(old.shape, dtype=torch.float32)
        if old.dim() > 1:
            nn.init.normal_(values, std=std)
        elif name.endswith(".weight"):  # the gain of a norm
            nn.init.ones_(values)
        fresh[name] = nn.Parameter(values.to(old.device))
    return fresh
