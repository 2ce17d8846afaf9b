"""Predictions and scores of a model on a split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from autopeft.tasks.base import Kind
from autopeft.tasks.metrics import score_all
from workers.data import EncodedSplit

EVALUATION_BATCH = 64


@torch.inference_mode()
def predict_logits(model: PreTrainedModel, split: EncodedSplit, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """Return the model's outputs for every row, of shape ``(rows, outputs)``, in float32 on the CPU."""
    device = next(model.parameters()).device
    logits: Tensor | None = None
    for rows, batch in split.sorted_batches(batch_size):
        out = model(**batch.to(device).inputs).logits.float().cpu()
        if logits is None:
            logits = torch.empty(len(split), out.shape[-1])
        logits[rows] = out
    assert logits is not None, "a split has rows"
    return logits


def score_split(model: PreTrainedModel, split: EncodedSplit, kind: Kind) -> dict[str, float]:
    """Return every metric of the task's kind on a split; outputs that are not finite score as not a number."""
    logits = predict_logits(model, split).numpy()
    targets = split.targets.numpy()
    if not np.isfinite(logits).all():
        return dict.fromkeys(score_all(kind, targets, targets), float("nan"))
    predictions = logits[:, 0] if kind == "regression" else logits.argmax(axis=1)
    return score_all(kind, targets, predictions)
