"""Direct labels: text beside its point that overlaps no point, no other text and not the panel's edge."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

GAP = 6.0
RINGS = (0.0, 10.0, 24.0, 42.0, 64.0, 90.0, 120.0, 160.0, 210.0, 270.0, 340.0, 420.0)
DIRECTIONS = tuple((math.cos(a), math.sin(a)) for a in (math.tau * i / 16 for i in range(16)))
COST_OF_COVERING = 25.0
COST_OF_CROSSING = 60.0
COST_OF_LEADER = 12.0


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """Return the box of that size with its centre there."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    def overlaps(self, other: Box) -> bool:
        """Return whether they share any area."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.top <= other.bottom or other.top <= self.bottom)

    def inside(self, other: Box) -> bool:
        """Return whether it lies wholly in the other."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return its point that is nearest to a place."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


@dataclass(frozen=True)
class Wish:
    """A text that wants to stand near its anchor, outside the circle of the anchor's marker."""

    text: str
    x: float
    y: float
    radius: float
    size: float
    colour: str
    bold: bool = False


@dataclass(frozen=True)
class Label:
    """A text with its place, and the line to its marker where it stands too far from it to need none."""

    wish: Wish
    box: Box

    @property
    def leader(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """The line from the text to the edge of the marker, or None."""
        wish = self.wish
        x, y = self.box.nearest(wish.x, wish.y)
        far = math.hypot(x - wish.x, y - wish.y)
        if far <= wish.radius + GAP + 14:
            return None
        share = wish.radius / far
        return (x, y), (wish.x + (x - wish.x) * share, wish.y + (y - wish.y) * share)


@lru_cache(maxsize=4096)
def text_size(text: str, size: float, bold: bool = False) -> tuple[float, float]:
    """Return width and height of a line of text in DejaVu Sans, which is wider than most fonts."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    with warnings.catch_warnings():  # of glyphs that the font lacks: they are measured as boxes
        warnings.simplefilter("ignore", UserWarning)
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(width), 1.16 * size


def place(wishes: Sequence[Wish], taken: Iterable[Box], panel: Box, covered: Sequence[Box] = ()) -> list[Label]:
    """Place the labels one by one, each where it is nearest to its marker and covers least.

    Args:
        wishes: what to place; the crowded ones first, as each takes room from those after it.
        taken: boxes that no label may overlap.
        panel: box that every label lies in.
        covered: boxes that a label had better not overlap.

    Returns:
        The labels that found a place, in order.
    """
    obstacles, labels = list(taken), []
    for wish in wishes:
        free = [box for box in _candidates(wish) if box.inside(panel) and not any(map(box.overlaps, obstacles))]
        if free:
            label = min((Label(wish, box) for box in free), key=lambda one: _cost(one, obstacles, covered))
            labels.append(label)
            obstacles += [label.box, *_leader_boxes(label)]
    return labels


def _candidates(wish: Wish) -> Iterator[Box]:
    width, height = text_size(wish.text, wish.size, wish.bold)
    width, height = width + 4, height + 2
    for ring in RINGS:
        reach = wish.radius + GAP + ring
        for across, up in DIRECTIONS:
            x = wish.x + across * reach + _push(across) * width / 2
            y = wish.y + up * reach + _push(up) * height / 2
            yield Box.around(x, y, width, height)


def _push(direction: float) -> float:
    """Return how far the box's centre moves out: whole for a side, less for a direction that is nearly across."""
    return max(-1.0, min(1.0, 1.5 * direction))


def _leader_boxes(label: Label) -> Iterator[Box]:
    """Return small boxes along the leader that keep later labels off it."""
    if label.leader is not None:
        (x0, y0), (x1, y1) = label.leader
        steps = 1 + int(math.dist(*label.leader) / 5)
        yield from (Box.around(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps, 5, 5) for i in range(steps))


def _cost(label: Label, obstacles: Sequence[Box], covered: Sequence[Box]) -> float:
    wish = label.wish
    x, y = label.box.nearest(wish.x, wish.y)
    cost = math.hypot(x - wish.x, y - wish.y) + COST_OF_COVERING * sum(map(label.box.overlaps, covered))
    if label.leader is None:
        return cost
    foreign = [box for box in obstacles if box.nearest(wish.x, wish.y) != (wish.x, wish.y)]
    crossed = 3 * _crossings(*label.leader, foreign) + _crossings(*label.leader, covered)
    return cost + COST_OF_LEADER + COST_OF_CROSSING * crossed


def _crossings(start: tuple[float, float], end: tuple[float, float], boxes: Sequence[Box]) -> int:
    """Return how many of the boxes the line from start to end goes through."""
    (x0, y0), (x1, y1) = start, end
    hull = Box(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)
    near = [box for box in boxes if box.overlaps(hull)]
    shares = [step / 32 for step in range(1, 32)]
    places = [(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share) for share in shares]
    return sum(any(box.left < x < box.right and box.bottom < y < box.top for x, y in places) for box in near)
