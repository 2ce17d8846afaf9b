"""S3Delta's structure search by gradients: a gate on every placement, trained in turns with the weights.

Hu et al. 2022, arXiv 2206.07382. The training rows are halved: the weights learn on one half, the gates on the other,
as in DARTS. Each pass draws its gates afresh (:mod:`workers.gates`); only those that a second-order gradient compares
share theirs. A pass says little of a hundred gates at once: so the gates' gradient is the mean of several, while the
weights, which learn their rows by heart, take few steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from autopeft.messages import GateSettings, TrainingSettings
from autopeft.modules.attach import Attachment
from autopeft.tasks.base import Kind
from workers.data import Batch, EncodedSplit
from workers.gates import draw, probabilities
from workers.training import Loop, TrainingStopped, check_deadline, schedule
from workers.unrolled import unrolled_gradient

# The weights learn at this share of their rates. Those are for one kind of module by itself; here modules of every
# kind change the same hidden states at once, and at full rates they overshoot together, so that gates learn to be
# shut: on trec a gate that does nothing (the bias of all keys) ended among the most probable at a share of 1, and last
# at 0.3, 0.1 and 0.03.
PACE = 0.2


@dataclass(frozen=True)
class Structure:
    """The gates' probabilities at the end, by placement in the architecture's order, and how they were found."""

    probabilities: tuple[float, ...]
    steps: int
    busy_seconds: float


def search_structure(
    attachment: Attachment,
    rows: EncodedSplit,
    kind: Kind,
    settings: TrainingSettings,
    seed: int,
    gates: GateSettings,
    deadline: float | None = None,
) -> Structure:
    """Train an attachment's weights and a gate on each of its placements.

    Args:
        attachment: every placement that has a gate, on its model. Its weights are trained with gates half open and are
            of no use after.
        rows: training rows, halved here.
        kind: decides the loss.
        settings: of the weights' optimiser.
        seed: of the halves, the order of the rows and the drawn gates.
        gates: of the gates and their optimiser, and how long both learn; nothing is evaluated.
        deadline: of ``time.monotonic()``; the run stops itself after it.

    Raises:
        TrainingStopped: a loss or a probability is not finite, the deadline passed, or memory ran out as in training.
        ValueError: a placement cannot have a gate, there is no placement, or there are fewer than two rows.
    """
    started = time.monotonic()
    halving, order, gate_order, drawing = np.random.default_rng(seed).spawn(4)
    weight_rows, gate_rows = halve(rows, halving)
    search = _Search(Loop(attachment, kind, settings, PACE), attachment, gates, drawing)
    weight_batches = weight_rows.shuffled_batches(settings.batch_size, order)
    gate_batches = gate_rows.shuffled_batches(settings.batch_size, gate_order)
    for step in range(1, gates.steps + 1):
        search.step(next(weight_batches), [next(gate_batches) for _ in range(gates.draws)])
        check_deadline(deadline, step, gates.steps)
    attachment.set_gates({})
    return Structure(search.result(), gates.steps, time.monotonic() - started)


def halve(rows: EncodedSplit, rng: np.random.Generator) -> tuple[EncodedSplit, EncodedSplit]:
    """Return the rows of the weights and those of the gates; an odd row goes to the weights.

    Raises:
        ValueError: there are fewer than two rows.
    """
    if len(rows) < 2:
        raise ValueError(f"a structure search halves its training rows, and there are {len(rows)}")
    order = rng.permutation(len(rows))
    middle = (len(rows) + 1) // 2
    return rows.take(order[:middle]), rows.take(order[middle:])


def gate_costs(attachment: Attachment) -> Tensor:
    """Return the trainable parameters of each placement, in the architecture's order and in float64."""
    modules = [attachment.modules[p.key] for p in attachment.architecture.placements]
    return torch.tensor([sum(w.numel() for w in module.parameters()) for module in modules], dtype=torch.float64)


class _Search:
    """Logits, their optimiser, and the turns of gates and weights."""

    def __init__(
        self, loop: Loop, attachment: Attachment, settings: GateSettings, drawing: np.random.Generator
    ) -> None:
        self.loop = loop
        self.attachment = attachment
        self.settings = settings
        self.drawing = drawing
        self.keys = [p.key for p in attachment.architecture.placements]
        if not self.keys:
            raise ValueError("a structure search needs a placement")
        self.costs = gate_costs(attachment)
        self.logits = torch.zeros(len(self.keys), dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.AdamW([self.logits], lr=settings.learning_rate, weight_decay=0.0)
        # The gates' rate only falls, as in the authors' code.
        warmups = {loop.optimizer: loop.settings.warmup, self.optimizer: 0.0}
        self.schedules = [
            LambdaLR(optimizer, schedule(settings.steps, warmup)) for optimizer, warmup in warmups.items()
        ]

    def step(self, weight_batch: Batch, gate_batches: Sequence[Batch]) -> None:
        """Let the gates learn on their batches, and then the weights on theirs."""
        gradients = [self._gradient(weight_batch, batch) for batch in gate_batches]
        self.logits.grad = torch.stack(gradients).mean(0)
        self.optimizer.step()
        self._open(self._draw().detach().to(self.loop.device, torch.float32))
        self.loop.step(weight_batch)
        for each in self.schedules:
            each.step()

    def result(self) -> tuple[float, ...]:
        """Return the probabilities as they are."""
        self.loop.check_loss()
        p = self._probabilities().detach()
        if not torch.isfinite(p).all():
            raise TrainingStopped("diverged", "a gate's probability is not finite")
        return tuple(p.tolist())

    def _gradient(self, weight_batch: Batch, gate_batch: Batch) -> Tensor:
        upper = self._draw()
        if self.settings.order == "first":
            return self._differentiate(gate_batch, upper, ())[0]
        lower = self._draw()
        weights, rates = self.loop.parameters, self.loop.rates
        return unrolled_gradient(
            weights,
            rates,
            upper=lambda: self._differentiate(gate_batch, upper, weights),
            lower=lambda: self._differentiate(weight_batch, lower, weights),
        )

    def _differentiate(
        self, batch: Batch, drawn: Tensor, weights: Sequence[Tensor]
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the gradients of the batch's loss by the logits, through these gates, and by the weights."""
        z = drawn.detach().to(self.loop.device, torch.float32).requires_grad_()
        self._open(z)
        self.loop.differentiate(batch, [z, *weights])
        by_z = _gradient_at(z).to("cpu", torch.float64)
        (by_logits,) = torch.autograd.grad(drawn, self.logits, by_z, retain_graph=True)
        return by_logits, [_gradient_at(weight) for weight in weights]

    def _open(self, z: Tensor) -> None:
        self.attachment.set_gates(dict(zip(self.keys, z.unbind(), strict=True)))

    def _draw(self) -> Tensor:
        uniform = torch.from_numpy(self.drawing.random(len(self.keys)))
        return draw(self._probabilities(), uniform)

    def _probabilities(self) -> Tensor:
        return probabilities(self.logits, self.costs, self.settings.budget, self.settings.temperature)


def _gradient_at(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
