"""Deciding sizes: scaling them over groups, or solving them for a parameter budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autopeft.geometry import ModelGeometry
from autopeft.modules.plan import price
from autopeft.space.entry import Draft
from autopeft.space.grouping import weights
from autopeft.space.schema import Trend
from autopeft.space.structure import Layout

TOLERANCE = 0.02
HALVINGS = 60


def scaled(size: int, share: float, most: int) -> int:
    """Return a size in proportion to a share, at least 1 and at most ``most`` (or the size itself, if larger)."""
    return min(max(1, round(size * share)), max(most, size))


def shares(trend: Trend, layout: Layout) -> dict[int, float]:
    """Return each group's share, 1 on average over the groups; 1 where there are no groups."""
    if not layout.count:
        return {0: 1.0}
    counts = weights(trend, layout.count)
    return {group: count * layout.count / sum(counts) for group, count in enumerate(counts, start=1)}


def solve(
    drafts: Sequence[Draft], share_of: Callable[[Draft], float], budget: int, geometry: ModelGeometry, per_params: bool
) -> list[int] | None:
    """Return sizes at which the drafts cost the budget, or None where no sizes do within :data:`TOLERANCE`.

    All sizes grow together until the budget is reached; what rounding down leaves goes to single placements, those
    that lost most by it first.

    Args:
        drafts: of one architecture; those of a given size keep it.
        share_of: how large a draft's share is among those of its group and others.
        budget: trainable parameters.
        geometry: the model's.
        per_params: whether parameters of a layer are in proportion to the shares, rather than sizes.
    """
    open_ones = [draft for draft in drafts if draft.size is None]
    fixed = sum(price(draft.at(draft.size), geometry) for draft in drafts if draft.size is not None)
    if not open_ones:
        return [draft.size or 0 for draft in drafts] if _meets(fixed, budget) else None
    lines = [_Line.of(draft, geometry) for draft in open_ones]
    if per_params:
        siblings = [sum(other.site.layer == draft.site.layer for other in open_ones) for draft in open_ones]
        wanted = [share_of(draft) / count for draft, count in zip(open_ones, siblings, strict=True)]
    else:
        wanted = [share_of(draft) for draft in open_ones]
    left = budget - fixed
    sizes = _sizes_within(lines, wanted, left, per_params)
    chosen = iter(sizes)
    solved = [next(chosen) if draft.size is None else draft.size for draft in drafts]
    total = sum(price(draft.at(size), geometry) for draft, size in zip(drafts, solved, strict=True))
    return solved if _meets(total, budget) else None


@dataclass(frozen=True)
class _Line:
    """The price of a placement, which is linear in its size: ``start + slope * size``, for sizes up to ``most``."""

    start: int
    slope: int
    most: int

    @classmethod
    def of(cls, draft: Draft, geometry: ModelGeometry) -> _Line:
        one, two = price(draft.at(1), geometry), price(draft.at(2), geometry)
        return cls(2 * one - two, two - one, geometry.width)

    def price(self, size: int) -> int:
        return self.start + self.slope * size

    def size(self, amount: float, per_params: bool) -> float:
        """Return the size, not rounded, at an amount of parameters or of size."""
        exact = (amount - self.start) / self.slope if per_params else amount
        return min(max(1.0, exact), float(self.most))


def _sizes_within(lines: Sequence[_Line], wanted: Sequence[float], budget: int, per_params: bool) -> list[int]:
    """Return the sizes in proportion to what is wanted whose price comes nearest to the budget."""

    def exact(scale: float) -> list[float]:
        return [line.size(scale * share, per_params) for line, share in zip(lines, wanted, strict=True)]

    def price_of(sizes: Sequence[int]) -> int:
        return sum(line.price(size) for line, size in zip(lines, sizes, strict=True))

    low, high = 0.0, max(budget, 1) / min(wanted)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if price_of([math.floor(size) for size in exact(middle)]) <= budget:
            low = middle
        else:
            high = middle
    # Just above, where the last sizes jump, rounding down and the greedy steps below meet from both sides.
    aimed = exact(high)
    sizes = [math.floor(size) for size in exact(low)]
    left = budget - price_of(sizes)
    # Of equals the last first: later layers matter more for PEFT.
    by_loss = sorted(range(len(lines)), key=lambda i: (sizes[i] - aimed[i], -i))
    for index in by_loss:
        line = lines[index]
        if sizes[index] < line.most and abs(left - line.slope) < abs(left):
            sizes[index] += 1
            left -= line.slope
    return sizes


def _meets(params: int, budget: int) -> bool:
    return abs(params - budget) <= TOLERANCE * budget
