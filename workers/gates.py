"""The probabilities of S3Delta's gates: one global sigmoid, shifted so that the drawn structure fits a budget.

Hu et al. 2022, arXiv 2206.07382. A gate ``i`` with the logit ``alpha_i``, on a module of ``c_i`` parameters, is open
with the probability::

    p_i = sigmoid((alpha_i - zeta) / beta),    zeta such that  sum_i p_i c_i = budget

Everything here is of shape ``(gates,)``, in float64 and on the CPU: the numbers are few, and the budget is met to many
digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

# A probability, and a uniform number, is kept this far from 0 and 1 where its log-odds are taken.
MARGIN = 1e-7
# Halvings of an interval of float64: more than it has digits.
BISECTIONS = 80


def probabilities(logits: Tensor, costs: Tensor, budget: float, temperature: float) -> Tensor:
    """Return the gates' probabilities, whose expected cost is the budget.

    Their gradient takes ``zeta`` as given, and there is a factor ``S0 / S`` on them, where ``S`` is the sum of all
    ``p`` and ``S0`` the same number as a constant: it is 1, and its gradient ties every gate to all others. With
    ``p'_j = p_j (1 - p_j) / beta``::

        d p_i / d alpha_j = p'_j (delta_ij - p_i / S)

    Each column adds up to 0: what one gate gains, the others lose in proportion to their probabilities. So a step
    keeps the expected number of open gates; the expected cost, where costs differ, it may change, and the next
    ``zeta`` mends that. This is the authors' gradient. The one through ``zeta`` itself would have
    ``c_j p'_i p'_j / sum(c p')`` in place of ``p'_j p_i / S``.

    Args:
        logits: ``alpha``, any finite numbers.
        costs: ``c``, each above 0.
        budget: above 0; one at or above the sum of the costs opens all gates.
        temperature: ``beta``, above 0.
    """
    scaled = logits / temperature
    p = torch.sigmoid(scaled - _shift(scaled.detach(), costs, budget))
    total = p.sum()
    return p * (total.detach() / total)


def draw(p: Tensor, uniform: Tensor) -> Tensor:
    """Return gates between 0 and 1: ``sigmoid(logit(p) + logit(u))``, the binary concrete distribution.

    Each is above one half with its probability, and its gradient reaches ``p``.

    Args:
        p: probabilities.
        uniform: a number between 0 and 1 for every gate, drawn afresh.
    """
    # The gradient passes the margin as if it were not there: a gate at a bound still moves the others.
    inside = p + (p.clamp(MARGIN, 1 - MARGIN) - p).detach()
    return torch.sigmoid(torch.logit(inside) + torch.logit(uniform, eps=MARGIN))


def _shift(scaled: Tensor, costs: Tensor, budget: float) -> Tensor:
    # If every gate were as the lowest (highest) of them, this share of the costs would need the lower (upper) bound.
    share = torch.logit(torch.tensor(min(budget / float(costs.sum()), 1 - MARGIN), dtype=torch.float64))
    low, high = scaled.min() - share, scaled.max() - share
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if (torch.sigmoid(scaled - middle) * costs).sum() > budget:
            low = middle
        else:
            high = middle
    return (low + high) / 2
