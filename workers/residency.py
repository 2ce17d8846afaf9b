"""What stays in a worker between trials: the frozen base model and the tokenised task, while they are unchanged."""

from __future__ import annotations

import gc
from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from autopeft.architecture import Quantisation
from autopeft.base_models import describe_model, load_model, load_tokenizer
from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TaskSpec, TrialRequest
from autopeft.tasks import TaskData, load_task
from workers.data import EncodedTask, encode_task
from workers.devices import pick_device, pick_dtype
from workers.shelf import Shelf

ModelKey = tuple[str, str, str, int, torch.dtype, Quantisation]
TaskKey = tuple[TaskSpec, str]
MOST_TASKS = 2


@dataclass
class _Task:
    """A task's data, and its splits as each model's tokeniser has them."""

    data: TaskData
    encoded: dict[tuple[str, str], EncodedTask] = field(default_factory=dict)


@dataclass
class Residency:
    """The one base model and the last tasks that this process holds. A request for another model replaces it.

    Attributes:
        shelf: hidden states of the model's lower layers.
    """

    device: torch.device = field(default_factory=pick_device)
    shelf: Shelf = field(default_factory=Shelf)
    _model_key: ModelKey | None = None
    _model: PreTrainedModel | None = None
    _tasks: OrderedDict[TaskKey, _Task] = field(default_factory=OrderedDict)

    def dtype(self, request: TrialRequest) -> torch.dtype:
        """Return the type in which the request's base is stored."""
        return pick_dtype(request.precision, self.device)

    def model(self, request: TrialRequest) -> PreTrainedModel:
        """Return the request's base model, loading it if it is not the one at hand.

        Raises:
            InvalidInput: its weights are not those that the request is for.
        """
        data, quantisation = self.data(request), request.decoded.quantisation
        key = (request.model, request.model_hash, data.kind, data.outputs, self.dtype(request), quantisation)
        if self._model is None or key != self._model_key:
            self._model = None
            self.shelf.clear()
            gc.collect()  # the old model's memory, before the new one's is asked for
            if request.model_hash:
                describe_model(request.model).require(request.model_hash)
            self._model = load_model(request.model, data.kind, data.outputs, self.device, key[4], quantisation)
            self._model_key = key
        return self._model

    def data(self, request: TrialRequest) -> TaskData:
        """Return the data of the request's task.

        Raises:
            InvalidInput: its rows are not those that the request is for.
        """
        return self._held(request).data

    def task(self, request: TrialRequest) -> EncodedTask:
        """Return the request's task, tokenised for its model."""
        held, key = self._held(request), (request.model, request.model_hash)
        if key not in held.encoded:
            held.encoded[key] = encode_task(held.data, load_tokenizer(request.model), request.task.max_length)
        return held.encoded[key]

    def _held(self, request: TrialRequest) -> _Task:
        key = (request.task, request.task_hash)
        if key not in self._tasks:
            data = load_task(request.task)
            if request.task_hash not in ("", data.fingerprint):
                remedy = "its rows have changed since the search was submitted; bring those back, or submit another"
                raise InvalidInput(Problem("task", request.task.name, remedy))
            if len(self._tasks) == MOST_TASKS:
                self._tasks.popitem(last=False)
                self.shelf.clear()
            self._tasks[key] = _Task(data)
        self._tasks.move_to_end(key)
        return self._tasks[key]
