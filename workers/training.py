"""The one training loop: AdamW on an attachment's parameters, scored as it goes, the best step kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from autopeft.messages import Bar, Fidelity, Reason, TrainingSettings, held_at, place
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.modules.base import MEASURED_WIDTH
from autopeft.tasks.base import Kind
from workers.activations import Forward, plain
from workers.data import Batch, EncodedSplit
from workers.devices import ran_out_of_memory

HALVINGS = 3
# Learning rate of the task head at MEASURED_WIDTH; it falls with the width, as those of the modules do.
HEAD_RATE = 3e-2
# Reading the loss stops a GPU's queue; so it is read every so many steps there, and at every step on a CPU.
LOSS_READ_EVERY = 16


class TrainingStopped(Exception):
    """The run cannot or must not go on; carries the reason that its report gives."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


@dataclass
class Outcome:
    """The best step of a run and how it got there. The attachment holds that step's weights.

    Attributes:
        steps: that the run was to take; the last of ``curve`` is as far as it got.
        missed: says which bar the run stayed below, if it was stopped there.
    """

    best_score: float = -math.inf
    best_step: int = 0
    steps: int = 0
    busy_seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    missed: str = ""


def train(
    attachment: Attachment,
    rows: EncodedSplit,
    kind: Kind,
    settings: TrainingSettings,
    fidelity: Fidelity,
    seed: int,
    evaluate: Callable[[], float],
    deadline: float | None = None,
    bars: Sequence[Bar] = (),
    forward: Forward | None = None,
) -> Outcome:
    """Train an attachment and leave it at its best step.

    Args:
        attachment: what trains, on its model.
        rows: training rows, already cut to the fidelity.
        kind: decides the loss: cross-entropy, or mean squared error.
        settings: of the optimiser.
        fidelity: how long to train and how often to evaluate.
        seed: of the order of the rows.
        evaluate: returns the held-out score of the attachment as it is.
        deadline: of ``time.monotonic()``; the run stops itself after it.
        bars: what it must reach to go on.
        forward: what gives a batch's logits, where that is not the whole model.

    Raises:
        TrainingStopped: the loss or the score is not finite, the deadline passed, or memory ran out at one row
            a step or after three halvings.
    """
    loop = Loop(attachment, kind, settings, forward=forward)
    steps = count_steps(rows, settings, fidelity)
    scheduler = LambdaLR(loop.optimizer, schedule(steps, settings.warmup))
    needed = held_at(bars, steps)
    evaluated_at = {place((i + 1) / fidelity.evaluations, steps) for i in range(fidelity.evaluations)}
    evaluated_at |= {place(share, steps) for share in fidelity.rungs} | set(needed)
    batches = rows.shuffled_batches(settings.batch_size, np.random.default_rng(seed))
    outcome = Outcome(steps=steps)
    best: dict[str, Tensor] = {}
    started = time.monotonic()
    for step in range(1, steps + 1):
        loop.step(next(batches))
        scheduler.step()
        if step in evaluated_at:
            loop.check_loss()
            score = evaluate()
            if not math.isfinite(score):
                raise TrainingStopped("diverged", f"the held-out score is {score} at step {step} of {steps}")
            outcome.curve.append((step, score))
            if score > outcome.best_score:
                outcome.best_score, outcome.best_step, best = score, step, attachment.state_dict()
            if step in needed and score < needed[step].score:
                outcome.missed = needed[step].missed(step, steps, score)
                break
        check_deadline(deadline, step, steps)
    if outcome.best_step != outcome.curve[-1][0]:
        attachment.load_state_dict(best)
    outcome.busy_seconds = time.monotonic() - started
    return outcome


def count_steps(rows: EncodedSplit, settings: TrainingSettings, fidelity: Fidelity) -> int:
    """Return the optimiser steps of a run on these rows: one or more."""
    return max(1, math.ceil(fidelity.epochs * math.ceil(len(rows) / settings.batch_size)))


def check_deadline(deadline: float | None, step: int, steps: int) -> None:
    """Stop the run if its deadline, of ``time.monotonic()``, passed."""
    if deadline is not None and time.monotonic() > deadline:
        raise TrainingStopped("timeout", f"the wall limit passed at step {step} of {steps}")


class Loop:
    """Optimiser and micro-batch of one run; the modules' learning rates are ``pace`` times what they would be."""

    def __init__(
        self,
        attachment: Attachment,
        kind: Kind,
        settings: TrainingSettings,
        pace: float = 1.0,
        forward: Forward | None = None,
    ) -> None:
        self.forward = forward or plain(attachment.model)
        self.kind = kind
        self.settings = settings
        self.micro_batch = settings.batch_size
        self.halvings = 0
        self.device = next(attachment.model.parameters()).device
        groups = list(rated(attachment, settings, pace))
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
        self._worst = torch.zeros((), device=self.device)
        self._steps = 0

    @property
    def rates(self) -> list[float]:
        """The learning rate of each of the parameters, now."""
        return [group["lr"] for group in self.optimizer.param_groups for _ in group["params"]]

    def step(self, batch: Batch) -> None:
        """Take one optimiser step."""
        self.differentiate(batch, self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.optimizer.step()
        self._steps += 1
        if self.device.type == "cpu" or self._steps % LOSS_READ_EVERY == 0:
            self.check_loss()

    def differentiate(self, batch: Batch, leaves: Sequence[Tensor]) -> None:
        """Set the leaves' ``grad`` to that of the batch's mean loss, on smaller pieces if memory runs out."""
        while True:
            problem = self._accumulate(batch, leaves)
            if problem is None:
                break
            if self.halvings == HALVINGS or self.micro_batch == 1:
                raise TrainingStopped("out_of_memory", f"at {self.micro_batch} rows a pass: {problem}")
            self.halvings += 1
            self.micro_batch = math.ceil(self.micro_batch / 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def check_loss(self) -> None:
        """Stop the run if any loss since the last look was not finite."""
        if not torch.isfinite(self._worst):
            raise TrainingStopped("diverged", f"the loss is {self._worst.item()} near step {self._steps}")

    def _accumulate(self, batch: Batch, leaves: Sequence[Tensor]) -> str | None:
        # The error is handled by the caller, outside the except block: its traceback holds the tensors that filled
        # the memory.
        for leaf in leaves:
            leaf.grad = None
        try:
            for piece in batch.to(self.device).chunks(self.micro_batch):
                loss = self._loss(piece) * (len(piece) / len(batch))
                torch.autograd.backward(loss, inputs=leaves)
                self._worst = self._worst + loss.detach()
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            return str(error).split("\n")[0]
        return None

    def _loss(self, batch: Batch) -> Tensor:
        logits = self.forward(batch).float()
        if self.kind == "regression":
            return functional.mse_loss(logits[:, 0], batch.targets)
        return functional.cross_entropy(logits, batch.targets)


def rated(attachment: Attachment, settings: TrainingSettings, pace: float = 1.0) -> Iterator[dict[str, Any]]:
    """Yield parameter groups with their learning rates: those of the settings, else our own.

    Args:
        attachment: whose parameters.
        settings: may set the rates of the modules and of the head.
        pace: factor on the rates of the modules.
    """
    head = settings.head_learning_rate or HEAD_RATE * MEASURED_WIDTH / attachment.geometry.width
    yield {"params": list(attachment.head.values()), "lr": head}
    by_rate: dict[float, list[nn.Parameter]] = {}
    for placement in attachment.architecture.placements:
        site = attachment.geometry.site(placement.site, placement.layer)
        own = MODULE_TYPES.get(placement.module).learning_rate(site, placement.size)
        rate = settings.learning_rate or own
        by_rate.setdefault(rate, []).extend(attachment.modules[placement.key].parameters())
    for rate, parameters in by_rate.items():
        yield {"params": parameters, "lr": pace * rate}


def schedule(steps: int, warmup: float) -> Callable[[int], float]:
    """Return the factor on the learning rates by step: a linear rise, and then a linear fall to nothing."""
    rising = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return max(0.0, (steps - step) / max(1, steps - rising))

    return factor
