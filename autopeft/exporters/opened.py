"""What is exported: a recipe beside its base model, with paths and learning rates as the formats write them."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autopeft.architecture import Placement
from autopeft.messages import Fidelity, TrainingSettings, TrialRequest
from autopeft.modules.plan import full_options
from autopeft.recipe import Recipe

if TYPE_CHECKING:
    from autopeft.modules.attach import Attachment

T = TypeVar("T")


@dataclass(frozen=True)
class Opened:
    """A recipe, which is put beside its base model when something is first asked that depends on it.

    Attributes:
        recipe: what is exported.
        weights: safetensors file of its trained tensors, named as
            :meth:`autopeft.modules.attach.Attachment.state_dict` names them; None where it is untrained.
    """

    recipe: Recipe
    weights: Path | None = None

    @cached_property
    def attachment(self) -> Attachment:
        """The architecture as modules of the base model, all on the ``meta`` device.

        Raises:
            InvalidInput: the base model is not to be had any more, or is another one.
        """
        # torch comes with these, and formats that hold no more than the recipe do without.
        from autopeft.base_models import describe_model, empty_model  # noqa: PLC0415
        from autopeft.modules.attach import Attachment  # noqa: PLC0415

        base = describe_model(self.address)
        base.require(self.recipe.base_model.hash)
        model = empty_model(self.address, len(self.recipe.task.labels) or 1)
        return Attachment(model, self.recipe.architecture, base.geometry)

    @property
    def settings(self) -> TrainingSettings:
        """The recipe's, with those that the architecture brings in their place."""
        return self._request.chosen_training

    @property
    def fidelity(self) -> Fidelity:
        """The recipe's, with the architecture's own number of epochs if it brings one."""
        return self._request.chosen_fidelity

    @property
    def placements(self) -> tuple[Placement, ...]:
        """The modules, in normal form."""
        return self.attachment.architecture.placements

    @property
    def address(self) -> str:
        """The name under which exactly this base model is loaded."""
        return self.recipe.base_model.address

    @property
    def location(self) -> str:
        """Folder or hub id of the base model.

        Raises:
            InvalidInput: it was a folder, and is none any more.
        """
        from autopeft.base_models import find_model  # noqa: PLC0415 - torch

        return find_model(self.address).location

    @property
    def head(self) -> list[str]:
        """The modules of the model that are the task head."""
        return sorted({name.partition(".")[0] for name in self.attachment.head})

    def site(self, placement: Placement) -> str:
        """Return the path of the placement's module in the base model."""
        return self.attachment.geometry.site(placement.site, placement.layer).exit

    def path(self, placement: Placement) -> str:
        """Return the path of the placement's module in the model with its head."""
        return f"{self.attachment.model.base_model_prefix}.{self.site(placement)}"

    def has_bias(self, placement: Placement) -> bool:
        """Whether the base model's module has a bias of its own."""
        module = self.attachment.model.get_submodule(self.path(placement))
        return getattr(module, "bias", None) is not None

    @property
    def transposed(self) -> bool:
        """Whether the base model's linears are transformers' ``Conv1D``, as GPT-2's are."""
        model = self.attachment.model
        return any(type(model.get_submodule(self.path(p))).__name__ == "Conv1D" for p in self.placements)

    @cached_property
    def rates(self) -> dict[str, float]:
        """The learning rate that training takes for every placement, by its key, and for the ``head``."""
        # Workers are reached by name.
        groups = list(importlib.import_module("workers.training").rated(self.attachment, self.settings))
        by_parameter = {id(p): float(group["lr"]) for group in groups for p in group["params"]}
        modules = self.attachment.modules
        rates = {p.key: by_parameter[id(next(modules[p.key].parameters()))] for p in self.placements}
        return {"head": by_parameter[id(next(iter(self.attachment.head.values())))], **rates}

    @property
    def _request(self) -> TrialRequest:
        recipe = self.recipe
        return TrialRequest(
            key=recipe.name,
            model=self.address,
            task=recipe.task.spec,
            architecture=recipe.architecture.to_dict(),
            fidelity=recipe.training.fidelity,
            training=recipe.training.settings,
        )


def alpha(placement: Placement) -> float | int:
    """Return a LoRA's alpha; the default, written 0, is twice the rank."""
    value = float(full_options(placement)["alpha"]) or 2.0 * placement.size
    return int(value) if value.is_integer() else value


def most_common(values: Iterable[T]) -> T:
    """Return the value that is there most often, the first of those if several are."""
    return Counter(values).most_common(1)[0][0]


def unlike(values: Mapping[str, Any], common: Any) -> dict[str, Any]:
    """Return the entries whose value is another."""
    return {name: value for name, value in values.items() if value != common}
