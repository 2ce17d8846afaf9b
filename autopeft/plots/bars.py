"""The bars of the second panel: one a placement, side by side in their layer, with what is written on and by them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autopeft.answer import Row
from autopeft.architecture import Placement
from autopeft.plots.labels import Box, text_size
from autopeft.plots.sizes import SMALL

SIZE_TEXT = 17.0
STRIP_HEIGHT = 26.0
LOWEST_TEXT_ROW = 26.0
LEAST_HEIGHT = 0.14  # of the full height, for size 1 and less

Slot = tuple[str, str]


@dataclass(frozen=True)
class Text:
    """A line of text centred at a place; one that is written upwards ends there."""

    text: str
    x: float
    y: float
    size: float = SMALL


@dataclass(frozen=True)
class Bar:
    """A placement in the column of its architecture.

    Attributes:
        column: index of its architecture on the front.
        placement: what it stands for.
        box: where it is; its height is the logarithm of the size, and full for a module without a size.
        label: the size, where there is room for it.
        inside: whether the label stands in the bar, rather than over it.
    """

    column: int
    placement: Placement
    box: Box
    label: Text | None
    inside: bool


def make_bars(front: Sequence[Row], width: float, row_height: float) -> list[Bar]:
    """Return the bars of columns of that width and layers of that height."""
    largest = max((p.size for row in front for p in row.architecture.placements), default=1)
    pad, full = min(12.0, 0.1 * width), row_height - 4
    bars = []
    for column, row in enumerate(front):
        placements = row.architecture.placements
        edges = _slot_edges(placements, column * width + pad, (column + 1) * width - pad)
        for p in placements:
            left, right = edges[p.module, p.site]
            foot = p.layer * row_height + 2
            box = Box(left, foot, right, foot + full * _share(p.size, largest))
            bars.append(_labelled(column, p, box, foot + full))
    return bars


def size_strip(bars: Sequence[Bar], top: float) -> tuple[Text, ...]:
    """Return the sizes of a column's module types to write over it, where its cells have no room for them."""
    groups: dict[tuple[int, str], list[Bar]] = {}
    for bar in bars:
        if bar.placement.size:
            groups.setdefault((bar.column, bar.placement.module), []).append(bar)
    texts = []
    for mine in groups.values():
        left, right = min(bar.box.left for bar in mine), max(bar.box.right for bar in mine)
        text = size_range(bar.placement.size for bar in mine)
        if any(bar.label is None for bar in mine) and text_size(text, SIZE_TEXT)[0] <= right - left + 4:
            texts.append(Text(text, (left + right) / 2, top + STRIP_HEIGHT / 2, SIZE_TEXT))
    return tuple(texts)


def site_marks(bars: Sequence[Bar]) -> tuple[Text, ...]:
    """Return the names of the bars' sites to write under the grid; none if any bar is too thin for them."""
    if any(bar.box.right - bar.box.left < SIZE_TEXT for bar in bars):
        return ()
    marks = {
        (bar.column, bar.placement.module, bar.placement.site): Text(
            bar.placement.site.removeprefix("attention."), (bar.box.left + bar.box.right) / 2, -8, SIZE_TEXT
        )
        for bar in bars
    }
    return tuple(marks.values())


def size_range(sizes: Iterable[int]) -> str:
    """Return the least and the greatest size, as ``4–64``."""
    ordered = sorted(sizes)
    return str(ordered[0]) if ordered[0] == ordered[-1] else f"{ordered[0]}–{ordered[-1]}"


def _share(size: int, largest: int) -> float:
    """Return a bar's part of the full height: logarithmic from the least height at size 1 to 1 at the largest."""
    if not size or largest == 1:
        return 1.0
    return LEAST_HEIGHT + (1 - LEAST_HEIGHT) * math.log(size) / math.log(largest)


def _slot_edges(placements: Iterable[Placement], left: float, right: float) -> dict[Slot, tuple[float, float]]:
    """Return left and right of every module type at every site: types side by side, and in each of these its sites."""
    sites: dict[str, list[str]] = {}
    for module, site in sorted({(p.module, p.site) for p in placements}):
        sites.setdefault(module, []).append(site)
    width = (right - left) / max(1, len(sites))
    gap = min(4.0, 0.12 * width)
    edges = {}
    for rank, (module, names) in enumerate(sites.items()):
        start, share = left + rank * width + gap / 2, (width - gap) / len(names)
        thin = min(2.0, 0.15 * share) if len(names) > 1 else 0.0
        for number, name in enumerate(names):
            edges[module, name] = (start + number * share, start + (number + 1) * share - thin)
    return edges


def _labelled(column: int, placement: Placement, box: Box, ceiling: float) -> Bar:
    text, need = str(placement.size), 0.9 * SIZE_TEXT
    x, height = (box.left + box.right) / 2, box.top - box.bottom
    inside = height >= need + 2
    fits = text_size(text, SIZE_TEXT)[0] <= box.right - box.left - 1 and (inside or ceiling - box.top >= need)
    if not placement.size or not fits or ceiling - box.bottom < LOWEST_TEXT_ROW - 4:
        return Bar(column, placement, box, None, inside=False)
    y = (box.bottom + box.top) / 2 if inside else box.top + need / 2 + 1
    return Bar(column, placement, box, Text(text, x, y, SIZE_TEXT), inside)
