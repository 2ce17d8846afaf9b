"""Folding trained modules into the base model's own weights, after which it computes the same without them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autopeft.architecture import Placement
from autopeft.geometry import Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.modules.base import CannotFold, Host
from autopeft.modules.weights import head_parameters


@torch.no_grad()
def fold(attachment: Attachment) -> dict[str, str]:
    """Fold every module of an attachment into the model and take the attachment off; the trained head stays in.

    On the ``meta`` device this tells what can be folded without any weights.

    Returns:
        Why placements could not be folded, by their keys. If there are any, the model is of no use any more.
    """
    refused: dict[str, str] = {}
    # The last change of a representation first: what scales the input of a linear scales what was folded into that.
    for site, placements in reversed(attachment.by_site()):
        for placement in placements:
            try:
                _fold(attachment, site, placement)
            except CannotFold as error:
                refused[placement.key] = str(error)
    head = attachment.head
    attachment.detach()
    for name, parameter in head.items():
        attachment.model.get_parameter(name).copy_(parameter)
    return refused


@torch.no_grad()
def fold_units(model: PreTrainedModel, scale: float, center: float) -> None:
    """Change the head of a regression so that it gives its output times ``scale`` plus ``center``.

    Raises:
        CannotFold: its last layer has no bias.
    """
    # The head's layers are in the order of computation, and the last of them gives the output.
    *_, last = (name for name in head_parameters(model) if name.endswith(".weight"))
    layer = model.get_submodule(last.rpartition(".")[0])
    host = _host_of(layer)
    host.scale(torch.full_like(host.weight[:, 0], scale))
    if center:
        host.shift(torch.full_like(host.weight[:, 0], center))


def _fold(attachment: Attachment, site: Site, placement: Placement) -> None:
    fold_type = MODULE_TYPES.get(placement.module).fold
    if fold_type is None:
        raise CannotFold("what it computes is no part of a linear or a norm")
    host = _host_of(attachment.model.base_model.get_submodule(site.exit))
    if site.kind == "hidden":
        host = Host(host.weight.T, None)
    fold_type(attachment.modules[placement.key], host)


def _host_of(layer: nn.Module) -> Host:
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, Tensor), "the exit of such a site is a linear or a norm"
    return Host(weight.T if isinstance(layer, Conv1D) else weight, bias)
