"""A trained model without AutoPEFT: modules folded into the base model's weights, as a plain transformers folder.

``AutoModelForSequenceClassification.from_pretrained`` loads it in a program that knows nothing of PEFT. It gives the
logits of the model with its modules, and for a regression the number in the task's own units.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load
from transformers import PreTrainedModel

from autopeft.architecture import Quantisation
from autopeft.base_models import describe_model, empty_model, load_model, load_tokenizer, quiet
from autopeft.errors import Conflict, InvalidInput, LossyExport, Problem
from autopeft.modules.attach import Attachment
from autopeft.modules.base import CannotFold
from autopeft.modules.folding import fold, fold_units
from autopeft.recipe import Recipe
from autopeft.trained_files import MODULES, TrainedFacts, read_folder

FORMAT = "plain transformers model"
_UNFOLDABLE: Mapping[Quantisation, str] = {
    "int8": "its int8 base rounds what enters every layer too, which no plain model does",
}


def require_mergeable(recipe: Recipe) -> None:
    """Check, without any weights, that a model trained by this recipe can be merged.

    Raises:
        LossyExport: with the reason for every kind of placement that cannot be folded, the head, or the base.
    """
    model = empty_model(recipe.base_model.address, len(recipe.task.labels) or 1)
    geometry = describe_model(recipe.base_model.address).geometry
    reasons = _fold(Attachment(model, recipe.architecture, geometry))
    if recipe.task.kind == "regression":
        reasons += _fold_units(model, 1.0, 1.0)
    if recipe.architecture.quantisation in _UNFOLDABLE:
        reasons.append(_UNFOLDABLE[recipe.architecture.quantisation])
    if reasons:
        raise LossyExport(FORMAT, reasons)


def merge(folder: Path | str, out: Path | str) -> None:
    """Write a trained model as a plain transformers one, with its tokeniser, in float32.

    A base in NF4 is brought back to float32 from the four bits that training saw.

    Args:
        folder: as ``autopeft train`` wrote it.
        out: folder, created; one that is there must be empty.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: it is no trained model, or its base model has changed.
        Conflict: something is in ``out`` already.
        LossyExport: modules cannot be folded; nothing is written.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Conflict(f"{str(out)!r} is there already; choose another folder")
    recipe, facts = read_folder(folder)
    require_mergeable(recipe)
    describe_model(facts.base_model).require(facts.base_model_hash)
    write_merged(recipe, facts, (folder / MODULES).read_bytes(), out)


def write_merged(recipe: Recipe, facts: TrainedFacts, weights: bytes, out: Path) -> None:
    """Write the merged model of trained tensors (in safetensors format) into a folder, in place of what is there.

    Raises:
        LossyExport: modules cannot be folded; nothing is written.
        InvalidInput: the tensors are another architecture's.
    """
    model = _merged(recipe, facts, weights)
    tokenizer = copy.deepcopy(load_tokenizer(facts.base_model))
    tokenizer.model_max_length = facts.max_length
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        with quiet():
            model.save_pretrained(partial)
        tokenizer.save_pretrained(str(partial))
        partial.chmod(0o755)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _merged(recipe: Recipe, facts: TrainedFacts, weights: bytes) -> PreTrainedModel:
    where, quantisation = torch.device("cpu"), recipe.architecture.quantisation
    model = load_model(facts.base_model, facts.kind, len(facts.labels) or 1, where, torch.float32, quantisation)
    if quantisation != "none":
        with quiet():
            model.dequantize()  # type: ignore[no-untyped-call]
    attachment = Attachment(model, recipe.architecture, describe_model(facts.base_model).geometry)
    try:
        attachment.load_state_dict(load(weights))
    except ValueError as error:
        raise InvalidInput(Problem("modules", None, str(error))) from error
    reasons = _fold(attachment)
    if facts.kind == "regression":
        reasons += _fold_units(model, facts.scale, facts.center)
    if reasons:
        raise LossyExport(FORMAT, reasons)
    if facts.labels:
        model.config.id2label = dict(enumerate(facts.labels))
        model.config.label2id = {label: i for i, label in enumerate(facts.labels)}
    return model


def _fold(attachment: Attachment) -> list[str]:
    placements = {placement.key: placement for placement in attachment.architecture.placements}
    layers: dict[tuple[str, str, str], list[int]] = {}
    for key, reason in fold(attachment).items():
        placement = placements[key]
        layers.setdefault((placement.module, placement.site, reason), []).append(placement.layer)
    return [
        f"{module} at {site} of layer {', '.join(map(str, sorted(found)))}: {reason}"
        for (module, site, reason), found in sorted(layers.items())
    ]


def _fold_units(model: PreTrainedModel, scale: float, center: float) -> list[str]:
    try:
        fold_units(model, scale, center)
    except CannotFold as error:
        return [f"the head's outputs cannot be brought to the task's units: {error}"]
    return []
