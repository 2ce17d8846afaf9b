"""Several candidates on one frozen model at once: a batch is their batches one after another, each changed by its own.

What a candidate computes is what it computes alone, within rounding: no operation of the model or of a module mixes
rows. Like modules of several candidates run as one batched product.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from transformers import PreTrainedModel

from autopeft.architecture import Architecture, Placement
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules.attention import put_prefixes
from autopeft.modules.hooks import Hooked, cast_to_weights
from autopeft.modules.prefix import Prefix
from autopeft.modules.weights import Weights

T = TypeVar("T")

# DeBERTa's projections of queries and keys are called with the positions as well, which are no candidate's rows.
CALLED_WITHOUT_ROWS = {"deberta-v2": ("attention.query", "attention.key")}


def can_pack(architecture: Architecture, geometry: ModelGeometry) -> bool:
    """Whether a candidate can share its passes with others and stay what it is alone."""
    if architecture.quantisation == "int8":  # which features are outliers is found over all rows of a batch
        return False
    excluded = CALLED_WITHOUT_ROWS.get(geometry.model_type, ())
    return not any(placement.site in excluded for placement in architecture.placements)


class Pack(Hooked):
    """The weights of several architectures, in use by the one model that they are for.

    Each candidate's rows of a batch are told by :meth:`holding`. The base model's own tensors are never written to.

    Args:
        members: the candidates; one or more, all for the same model, and all such as :func:`can_pack` says.
    """

    def __init__(self, members: Sequence[Weights]) -> None:
        self.model: PreTrainedModel = members[0].model
        self.geometry = members[0].geometry
        self.members = tuple(members)
        self._rows = [0] * len(members)
        super().__init__()

    @property
    def placements(self) -> tuple[Placement, ...]:
        """What any of the candidates puts where."""
        return tuple(placement for member in self.members for placement in member.placements)

    @property
    def boundary(self) -> int:
        """Number of layers, from the first, that no candidate changes."""
        return min(member.boundary for member in self.members)

    @contextmanager
    def holding(self, rows: Sequence[int]) -> Iterator[None]:
        """Expect batches of so many rows of each candidate, in their order; 0 leaves one out, or all."""
        self._rows[:] = rows
        try:
            yield
        finally:
            self._rows[:] = [0] * len(self.members)

    def _put_head(self) -> None:
        for path in sorted({name.rpartition(".")[0] for name in self.members[0].head}):
            layer = self.model.get_submodule(path)
            place = _Place([_layer_of(member, path, layer) for member in self.members])
            # In the layer's own dictionary, where it hides the method of its class.
            layer.__dict__["forward"] = partial(place.run, self._rows)
            self._undo.callback(layer.__dict__.pop, "forward")

    def _hook_sites(self) -> None:
        chosen = [dict(member.by_site()) for member in self.members]
        for site in self.geometry.sites:
            ordered = [there.get(site, []) for there in chosen]
            if not any(ordered):
                continue
            if site.kind == "kv":
                self._hook_prefixes(site, ordered)
            else:
                chains = [_chain_of(*one) for one in zip(self.members, ordered, strict=True)]
                place = _Place(chains, [tuple(own) for own in ordered])
                self._change(site, partial(place.run, self._rows), (p for own in ordered for p in own))

    def _hook_prefixes(self, site: Site, ordered: Sequence[Sequence[Placement]]) -> None:
        prefixes = [
            cast(Prefix, member.modules[own[0].key]) if own else None
            for member, own in zip(self.members, ordered, strict=True)
        ]
        gated = any(prefix is not None and prefix.gate is not None for prefix in prefixes)
        self._read_prefixes(site, partial(put_prefixes, parts=lambda _: _parts(self._rows, prefixes)), gated=gated)


class _Place:
    """Where each candidate may have a module of its own.

    Args:
        own: a module for each candidate, or None where what is there stays as it is.
        kinds: equal where modules compute the same but for their weights; None for all alike.
    """

    def __init__(self, own: Sequence[nn.Module | None], kinds: Sequence[object] | None = None) -> None:
        self.own = own
        self.kinds = kinds or [None] * len(own)
        self.weights = [dict(module.named_parameters()) if module is not None else {} for module in own]

    def run(self, rows: Sequence[int], *given: Tensor) -> Tensor:
        """Return what the candidates' modules give for their parts of the tensors, one after another.

        Args:
            rows: of the batch, for each candidate.
            given: what the modules are called with, for all rows; where there is no module, the last of these stays.
        """
        if not any(rows):  # the base alone
            return given[-1]
        each = len(given[-1]) // sum(rows)  # more than one where a row's tokens follow one another
        parts = _parts(rows, [None if own is None else member for member, own in enumerate(self.own)])
        alike: dict[tuple[object, int], list[int]] = {}
        for at, (count, member) in enumerate(parts):
            if member is not None:
                alike.setdefault((self.kinds[member], count), []).append(at)
        if not alike:
            return given[-1]
        members = [member for _, member in parts if member is not None]
        if len(alike) == 1 and len(members) == len(parts):
            shape = len(members), each * parts[0][0]
            return self._run_alike(members, [t.reshape(*shape, *t.shape[1:]) for t in given]).flatten(0, 1)
        cut = list(zip(*(torch.split(tensor, [count * each for count, _ in parts]) for tensor in given), strict=True))
        results = [tensors[-1] for tensors in cut]
        for places in alike.values():
            stacked = [_stack(own) for own in zip(*(cut[at] for at in places), strict=True)]
            own = [member for at in places if (member := parts[at][1]) is not None]
            for at, result in zip(places, self._run_alike(own, stacked).unbind(), strict=True):
                results[at] = result
        return torch.cat(results)

    def _run_alike(self, members: Sequence[int], given: Sequence[Tensor]) -> Tensor:
        """Return what like modules give, as one product; the first dimension of all tensors is the candidate's."""
        first = self.own[members[0]]
        assert first is not None
        if len(members) == 1:
            alone: Tensor = first(*(tensor[0] for tensor in given))
            return alone[None]
        weights = {name: torch.stack([self.weights[m][name] for m in members]) for name in self.weights[members[0]]}
        together: Tensor = vmap(partial(functional_call, first))(weights, tuple(given))
        return together


def _parts(rows: Sequence[int], own: Sequence[T | None]) -> list[tuple[int, T | None]]:
    """Return a batch's parts with their rows: one for each that has its own, one for neighbours that have nothing."""
    parts: list[tuple[int, T | None]] = []
    for count, one in zip(rows, own, strict=True):
        if one is None and parts and parts[-1][1] is None:
            parts[-1] = (parts[-1][0] + count, None)
        elif count:
            parts.append((count, one))
    return parts


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


class _Chain(nn.Module):
    """A site's deltas, one after another."""

    def __init__(self, deltas: Sequence[nn.Module]) -> None:
        super().__init__()
        self.deltas = nn.ModuleList(deltas)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return what the last one gives."""
        for delta in self.deltas:
            h = delta(x, h)
        return h


def _chain_of(member: Weights, placements: Sequence[Placement]) -> nn.Module | None:
    return _Chain([member.modules[p.key] for p in placements]) if placements else None


def _layer_of(member: Weights, path: str, layer: nn.Module) -> nn.Module:
    """Return a layer of the head with the candidate's own parameters, which computes in their type."""
    own = copy.deepcopy(layer)
    for name, parameter in member.head.items():
        owner, _, attribute = name.rpartition(".")
        if owner == path:
            setattr(own, attribute, parameter)
    own.register_forward_pre_hook(cast_to_weights)
    return own
