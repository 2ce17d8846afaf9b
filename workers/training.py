"""The one training loop: AdamW on one architecture's weights, scored as it goes, the best step kept."""

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
from autopeft.modules.base import MEASURED_WIDTH
from autopeft.modules.plan import full_options
from autopeft.modules.weights import Weights
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
    """The best step of a run and how it got there. What was trained holds that step's weights.

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
    weights: Weights,
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
    """Train weights that their model uses, and leave them at their best step.

    Args:
        weights: what trains.
        rows: training rows, already cut to the fidelity.
        kind: decides the loss: cross-entropy, or mean squared error.
        settings: of the optimiser.
        fidelity: how long to train and how often to evaluate.
        seed: of the order of the rows.
        evaluate: returns the held-out score of the weights as they are.
        deadline: of ``time.monotonic()``; the run stops itself after it.
        bars: what it must reach to go on.
        forward: what gives a batch's logits, where that is not the whole model.

    Raises:
        TrainingStopped: the loss or the score is not finite, the deadline passed, or memory ran out at one row
            a step or after three halvings.
    """
    run = Run(weights, Loop(weights, kind, settings, forward=forward), rows, fidelity, seed, bars)
    started = time.monotonic()
    while not run.over:
        run.loop.step(rows.batch(next(run.order)))
        if run.advance():
            run.take(evaluate())
        check_deadline(deadline, run.step, run.outcome.steps)
    run.end()
    run.outcome.busy_seconds = time.monotonic() - started
    return run.outcome


class Run:
    """The way through one run: the rows of each step, when to be scored, and when it is over.

    Whoever has it takes the steps on the loop and says so, one by one.

    Args:
        weights: what the loop trains.
        loop: of this run alone.
        rows: training rows, already cut to the fidelity.
        fidelity: how long to train and how often to evaluate.
        seed: of the order of the rows.
        bars: what it must reach to go on.

    Attributes:
        order: yields the rows of each step.
        step: how many were taken.
    """

    def __init__(
        self, weights: Weights, loop: Loop, rows: EncodedSplit, fidelity: Fidelity, seed: int, bars: Sequence[Bar] = ()
    ) -> None:
        steps = count_steps(rows, loop.settings, fidelity)
        self.weights = weights
        self.loop = loop
        self.order = rows.shuffled_rows(loop.settings.batch_size, np.random.default_rng(seed))
        self.step = 0
        self.outcome = Outcome(steps=steps)
        self._scheduler = LambdaLR(loop.optimizer, schedule(steps, loop.settings.warmup))
        self._needed = held_at(bars, steps)
        self._scored_at = {place((i + 1) / fidelity.evaluations, steps) for i in range(fidelity.evaluations)}
        self._scored_at |= {place(share, steps) for share in fidelity.rungs} | set(self._needed)
        self._best: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether there is no further step."""
        return self.step == self.outcome.steps or bool(self.outcome.missed)

    def advance(self) -> bool:
        """Count the step that the loop took; return whether the held-out score is to be taken in now.

        Raises:
            TrainingStopped: a loss is not finite.
        """
        self._scheduler.step()
        self.step += 1
        if self.step not in self._scored_at:
            return False
        self.loop.check_loss()
        return True

    def take(self, score: float) -> None:
        """Take in the held-out score of the weights as they are.

        Raises:
            TrainingStopped: it is not finite.
        """
        outcome, step = self.outcome, self.step
        if not math.isfinite(score):
            raise TrainingStopped("diverged", f"the held-out score is {score} at step {step} of {outcome.steps}")
        outcome.curve.append((step, score))
        if score > outcome.best_score:
            outcome.best_score, outcome.best_step, self._best = score, step, self.weights.state_dict()
        if step in self._needed and score < self._needed[step].score:
            outcome.missed = self._needed[step].missed(step, outcome.steps, score)

    def end(self) -> None:
        """Leave the weights at their best step."""
        if self.outcome.best_step != self.outcome.curve[-1][0]:
            self.weights.load_state_dict(self._best)


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
        weights: Weights,
        kind: Kind,
        settings: TrainingSettings,
        pace: float = 1.0,
        forward: Forward | None = None,
    ) -> None:
        self.forward = forward or plain(weights.model)
        self.kind = kind
        self.settings = settings
        self.micro_batch = settings.batch_size
        self.halvings = 0
        self.device = next(weights.model.parameters()).device
        groups = list(rated(weights, settings, pace))
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
        self.update()

    def update(self) -> None:
        """Change the parameters by their gradients as they are.

        Raises:
            TrainingStopped: a loss is not finite, and it was time to look.
        """
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

    def note(self, loss: Tensor) -> None:
        """Remember a loss for the next look."""
        self._worst = self._worst + loss.detach()

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
                self.note(loss)
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            return str(error).split("\n")[0]
        return None

    def _loss(self, batch: Batch) -> Tensor:
        return mean_loss(self.kind, self.forward(batch), batch.targets)


def mean_loss(kind: Kind, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of outputs ``(rows, outputs)``, computed in float32."""
    if kind == "regression":
        return functional.mse_loss(logits[:, 0].float(), targets)
    return functional.cross_entropy(logits.float(), targets)


def rated(weights: Weights, settings: TrainingSettings, pace: float = 1.0) -> Iterator[dict[str, Any]]:
    """Yield parameter groups with their learning rates: those of the settings, else our own.

    Args:
        weights: whose parameters.
        settings: may set the rates of the modules and of the head.
        pace: factor on the rates of the modules.
    """
    head = settings.head_learning_rate or HEAD_RATE * MEASURED_WIDTH / weights.geometry.width
    yield {"params": list(weights.head.values()), "lr": head}
    by_rate: dict[float, list[nn.Parameter]] = {}
    for placement in weights.architecture.placements:
        site = weights.geometry.site(placement.site, placement.layer)
        own = MODULE_TYPES.get(placement.module).learning_rate(site, placement.size, full_options(placement))
        rate = settings.learning_rate or own
        by_rate.setdefault(rate, []).extend(weights.modules[placement.key].parameters())
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
