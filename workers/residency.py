"""What stays in a worker between trials: the frozen base model and the tokenised task."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from autopeft.architecture import Quantisation
from autopeft.base_models import load_model, load_tokenizer
from autopeft.messages import TaskSpec, TrialRequest
from autopeft.tasks import TaskData, load_task
from workers.activations import Shelf
from workers.data import EncodedTask, encode_task
from workers.devices import pick_device, pick_dtype

ModelKey = tuple[str, str, int, torch.dtype, Quantisation]


@dataclass
class Residency:
    """The one base model and the tasks that this process holds. A request for another model replaces it.

    Attributes:
        shelf: hidden states of the model's lower layers.
    """

    device: torch.device = field(default_factory=pick_device)
    shelf: Shelf = field(default_factory=Shelf)
    _key: ModelKey | None = None
    _model: PreTrainedModel | None = None
    _data: dict[TaskSpec, TaskData] = field(default_factory=dict)
    _encoded: dict[tuple[TaskSpec, str], EncodedTask] = field(default_factory=dict)

    def dtype(self, request: TrialRequest) -> torch.dtype:
        """Return the type in which the request's base is stored."""
        return pick_dtype(request.precision, self.device)

    def model(self, request: TrialRequest) -> PreTrainedModel:
        """Return the request's base model, loading it if it is not the one at hand."""
        data, quantisation = self.data(request.task), request.decoded.quantisation
        key = (request.model, data.kind, data.outputs, self.dtype(request), quantisation)
        if self._model is None or key != self._key:
            self._model = None
            self.shelf.clear()
            gc.collect()  # the old model's memory, before the new one's is asked for
            self._model = load_model(request.model, data.kind, data.outputs, self.device, key[3], quantisation)
            self._key = key
        return self._model

    def data(self, spec: TaskSpec) -> TaskData:
        """Return the task's data."""
        if spec not in self._data:
            self._data[spec] = load_task(spec)
        return self._data[spec]

    def task(self, request: TrialRequest) -> EncodedTask:
        """Return the request's task, tokenised for its model."""
        key = (request.task, request.model)
        if key not in self._encoded:
            tokenizer = load_tokenizer(request.model)
            self._encoded[key] = encode_task(self.data(request.task), tokenizer, request.task.max_length)
        return self._encoded[key]
