"""Predictions and scores of a model on a split."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from autopeft.tasks.base import Kind
from autopeft.tasks.metrics import score_all
from workers.activations import Forward, plain
from workers.data import EncodedSplit

EVALUATION_BATCH = 64
TIMED_BATCH, TIMES = 32, 5


@torch.inference_mode()
def predict_logits(
    model: PreTrainedModel, split: EncodedSplit, batch_size: int = EVALUATION_BATCH, forward: Forward | None = None
) -> Tensor:
    """Return the model's outputs for every row, of shape ``(rows, outputs)``, in float32 on the CPU.

    Args:
        model: what predicts.
        split: the rows.
        batch_size: rows at a time.
        forward: what gives a batch's logits, where that is not the whole model.
    """
    device, forward = next(model.parameters()).device, forward or plain(model)
    (logits,) = predict_each(split, lambda batch: forward(batch.to(device)), batch_size=batch_size)
    return logits


def predict_each(
    split: EncodedSplit, forward: Forward, count: int = 1, batch_size: int = EVALUATION_BATCH
) -> list[Tensor]:
    """Return the outputs of so many models for every row, each as :func:`predict_logits` does.

    Args:
        split: the rows.
        forward: what gives a batch's logits by one model after another, of shape ``(count * batch, outputs)``.
        count: of models.
        batch_size: rows at a time.
    """
    found: list[Tensor] = []
    for rows, batch in split.sorted_batches(batch_size):
        outputs = forward(batch).float().cpu()
        found = found or [torch.empty(len(split), outputs.shape[-1]) for _ in range(count)]
        for logits, own in zip(found, outputs.chunk(count), strict=True):
            logits[rows] = own
    return found


@torch.inference_mode()
def time_predictions(model: PreTrainedModel, split: EncodedSplit) -> float:
    """Return the median time of a prediction for one batch of :data:`TIMED_BATCH` rows, in seconds.

    The first prediction is not counted. The rows are those of middle length.
    """
    device = next(model.parameters()).device
    order = sorted(range(len(split)), key=lambda i: len(split.ids[i]))
    first = max(0, (len(order) - TIMED_BATCH) // 2)
    batch = split.batch(order[first : first + TIMED_BATCH]).to(device)
    seconds = []
    for _ in range(1 + TIMES):
        started = time.perf_counter()
        model(**batch.inputs).logits.cpu()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def score_split(
    model: PreTrainedModel, split: EncodedSplit, kind: Kind, forward: Forward | None = None
) -> dict[str, float]:
    """Return every metric of the task's kind on a split, as :func:`score_logits` does."""
    return score_logits(predict_logits(model, split, forward=forward), split, kind)


def score_logits(outputs: Tensor, split: EncodedSplit, kind: Kind) -> dict[str, float]:
    """Return every metric of the task's kind for a split's outputs; those that are not finite score as not a number.

    Args:
        outputs: float32 on the CPU, of shape ``(rows, outputs)``.
        split: the rows.
        kind: of the task.
    """
    logits, targets = outputs.numpy(), split.targets.numpy()
    if not np.isfinite(logits).all():
        return dict.fromkeys(score_all(kind, targets, targets), float("nan"))
    predictions = logits[:, 0] if kind == "regression" else logits.argmax(axis=1)
    return score_all(kind, targets, predictions)
