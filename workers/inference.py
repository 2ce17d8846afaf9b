"""A trained model for prediction: the base model in float32 with its modules on it, and texts in, outputs out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from autopeft.architecture import Architecture
from autopeft.base_models import describe_model, load_model
from autopeft.errors import InvalidInput, Problem
from autopeft.modules.attach import Attachment
from autopeft.tasks import Split
from autopeft.tasks.base import Kind
from workers.data import encode_split
from workers.devices import pick_device
from workers.evaluation import predict_logits

Outputs = np.ndarray[Any, np.dtype[np.float32]]


class Predictor:
    """A model with its modules attached, and its tokeniser.

    Args:
        model: name of the base model.
        kind: of the task.
        outputs: width of the task head's output.
        architecture: what is attached.
        modules: safetensors file of the trained tensors.
        tokenizer: folder of the tokeniser's files.
        max_length: longest text in tokens; longer ones are cut.
        device: as torch names it; None takes the GPU if there is one.

    Raises:
        InvalidInput: the base model cannot be loaded, the tensors are another architecture's, or this machine has
            no such device.
    """

    def __init__(
        self,
        *,
        model: str,
        kind: Kind,
        outputs: int,
        architecture: Architecture,
        modules: Path,
        tokenizer: Path,
        max_length: int,
        device: str | None = None,
    ) -> None:
        where = pick_device() if device is None else _device(device)
        self.model: PreTrainedModel = load_model(model, kind, outputs, where, torch.float32, architecture.quantisation)
        self.attachment = Attachment(self.model, architecture, describe_model(model).geometry)
        try:
            self.attachment.load_state_dict(load_file(modules))
        except ValueError as error:
            raise InvalidInput(Problem("modules", str(modules), str(error))) from error
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokenizer)
        self._max_length = max_length

    def outputs(self, first: Sequence[str], second: Sequence[str] | None, batch_size: int) -> Outputs:
        """Return the head's outputs for one or two texts a row: float32 of shape ``(rows, outputs)``."""
        no_targets = np.zeros(len(first), dtype=np.int64)
        split = Split(tuple(first), None if second is None else tuple(second), no_targets)
        encoded = encode_split(split, self._tokenizer, self._max_length)
        logits: Outputs = predict_logits(self.model, encoded, batch_size).numpy()
        return logits


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).split("\n")[0]
        raise InvalidInput(Problem("device", name, f"not a device of this machine: {first}")) from error
    return device
