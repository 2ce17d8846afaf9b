"""Several runs trained in one pass: their batches go through the frozen base together, and all else is each one's own.

Each has its rows, optimiser, learning rates and end, and learns what it learns alone, within rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autopeft.modules.pack import Pack
from autopeft.tasks.base import Kind
from workers.activations import Forward
from workers.data import Batch, EncodedSplit
from workers.evaluation import predict_each
from workers.training import Outcome, Run, TrainingStopped, check_deadline, mean_loss


@dataclass
class Together:
    """The runs of a pack's members, on their way side by side.

    Attributes:
        pack: the members' weights, on their model.
        runs: one for each member, in the pack's order.
        kind: decides the loss.
        rows: the training rows of all.
        forward: what gives the logits of a batch of these rows.
        evaluate: returns the held-out scores of these members, by their places in the pack.
        deadlines: of each run, of ``time.monotonic()``; it is stopped after it.
        ended: what became of the runs that are over: an outcome, with the weights left at their best step, or why it
            had to be stopped.
    """

    pack: Pack
    runs: Sequence[Run]
    kind: Kind
    rows: EncodedSplit
    forward: Forward
    evaluate: Callable[[Sequence[int]], Sequence[float]]
    deadlines: Sequence[float | None]
    ended: dict[int, Outcome | TrainingStopped] = field(default_factory=dict)

    def train(self) -> Mapping[int, Outcome | TrainingStopped]:
        """Train until every run is over, and return what became of each; longer ones go on without the rest."""
        while going := self._going():
            began = time.monotonic()
            self._differentiate(going)
            self._score([member for member in going if self._advances(member)])
            for member in self._going():
                with self._ending(member):
                    self._end_if_over(member)
            for member in going:
                self.runs[member].outcome.busy_seconds += (time.monotonic() - began) / len(going)
        return self.ended

    def _going(self) -> list[int]:
        return [member for member in range(len(self.runs)) if member not in self.ended]

    def _differentiate(self, members: Sequence[int]) -> None:
        """Set the gradients of each run's loss on its next rows."""
        rows = {member: next(self.runs[member].order) for member in members}
        loops = [self.runs[member].loop for member in members]
        batch = self.rows.batch([row for own in rows.values() for row in own]).to(loops[0].device)
        with self.pack.holding([len(rows.get(member, ())) for member in range(len(self.runs))]):
            logits = self.forward(batch)
        sizes = [len(own) for own in rows.values()]
        losses = [
            mean_loss(self.kind, outputs, targets)
            for outputs, targets in zip(torch.split(logits, sizes), torch.split(batch.targets, sizes), strict=True)
        ]
        leaves = [parameter for loop in loops for parameter in loop.parameters]
        for leaf in leaves:
            leaf.grad = None
        torch.autograd.backward(losses, inputs=leaves)
        for loop, loss in zip(loops, losses, strict=True):
            loop.note(loss)

    def _advances(self, member: int) -> bool:
        """Take a run's step; return whether it is to be scored."""
        scored = False
        with self._ending(member):
            self.runs[member].loop.update()
            scored = self.runs[member].advance()
        return scored

    def _score(self, members: Sequence[int]) -> None:
        for member, score in zip(members, self.evaluate(members) if members else (), strict=True):
            with self._ending(member):
                self.runs[member].take(score)

    def _end_if_over(self, member: int) -> None:
        run = self.runs[member]
        check_deadline(self.deadlines[member], run.step, run.outcome.steps)
        if run.over:
            run.end()
            self.ended[member] = run.outcome

    @contextmanager
    def _ending(self, member: int) -> Iterator[None]:
        """Let what stops a run stop this one alone."""
        try:
            yield
        except TrainingStopped as stopped:
            self.ended[member] = stopped


@torch.inference_mode()
def predict_together(pack: Pack, members: Sequence[int], split: EncodedSplit, forward: Forward) -> list[Tensor]:
    """Return each member's outputs for every row, as :func:`workers.evaluation.predict_logits` gives them.

    Args:
        pack: the members' weights, on their model.
        members: places in the pack, ascending.
        split: the rows.
        forward: what gives the logits of a batch of these rows.
    """
    device = next(pack.model.parameters()).device

    def run(batch: Batch) -> Tensor:
        with pack.holding([len(batch.rows) if member in members else 0 for member in range(len(pack.members))]):
            return forward(batch.repeated(len(members)).to(device))

    return predict_each(split, run, len(members))
