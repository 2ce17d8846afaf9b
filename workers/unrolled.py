"""The gradient of a loss that looks one weight step ahead, as DARTS approximates it.

Liu et al. 2019, arXiv 1806.09055, equations 7 and 8. Logits ``a`` are to lower ``upper(w', a)`` at the weights that
one step of gradient descent leads to, ``w' = w - r d lower(w, a)/dw``, with a rate ``r`` for every weight tensor::

    d upper(w', a)/da  -  d/da [ r v · d lower(w, a)/dw ],    v = d upper(w', a)/dw'

The second term is a product with a matrix of mixed second derivatives; it is the difference of ``d lower/da`` at
``w + e r v`` and ``w - e r v`` by ``2 e``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

# Length of the step of the finite difference, over all weights together.
DISTANCE = 0.01

# Returns the gradients of a loss by the logits, and by every weight tensor, at the weights as they are.
Gradients = Callable[[], tuple[Tensor, Sequence[Tensor]]]


def unrolled_gradient(weights: Sequence[Tensor], rates: Sequence[float], upper: Gradients, lower: Gradients) -> Tensor:
    """Return the gradient by the logits; the weights are left as they were, bit by bit.

    The virtual step is plain gradient descent, also where the weights' optimiser is another.

    Args:
        weights: what ``upper`` and ``lower`` depend on, moved in place in between.
        rates: learning rate of each weight tensor.
        upper: of the loss that the logits are to lower.
        lower: of the loss that the weights lower; it must draw nothing at random, or the difference is noise.
    """
    _, downhill = lower()
    with _moved(weights, [-rate * g for rate, g in zip(rates, downhill, strict=True)]):
        direct, ahead = upper()
    direction = [rate * g for rate, g in zip(rates, ahead, strict=True)]
    length = float(torch.stack([d.norm() for d in direction]).norm())
    if length == 0:
        return direct
    step = DISTANCE / length
    with _moved(weights, [step * d for d in direction]):
        beyond, _ = lower()
    with _moved(weights, [-step * d for d in direction]):
        before, _ = lower()
    return direct - (beyond - before) / (2 * step)


@contextmanager
def _moved(weights: Sequence[Tensor], by: Sequence[Tensor]) -> Iterator[None]:
    kept = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w, difference in zip(weights, by, strict=True):
            w.add_(difference)
    try:
        yield
    finally:
        with torch.no_grad():
            for w, old in zip(weights, kept, strict=True):
                w.copy_(old)
