"""The first panel: trainable parameters against score, with the front, the baselines and what was tried besides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from autopeft.answer import Answer, Row
from autopeft.plots.axis import ParamsAxis
from autopeft.plots.labels import Box, Label, Wish, place
from autopeft.plots.palette import BASELINE_TEXT, INK
from autopeft.plots.sizes import BODY, PANEL_WIDTH
from autopeft.plots.wording import measures_text

HEIGHT = 680
FRONT_RADIUS, CROWDED_RADIUS, BASELINE_RADIUS, OTHER_RADIUS = 16.0, 9.0, 11.0, 5.0
# Searched trials farther below the front and the baselines than this many times their range are left out of the view.
DEPTH_SHOWN = 0.7


@dataclass(frozen=True)
class Mark:
    """A row with its place: on the axes, and in pixels of the panel. Front marks are numbered from 1."""

    row: Row
    number: int
    at: tuple[float, float]
    pixel: tuple[float, float]
    spread: float


@dataclass(frozen=True)
class TradeOff:
    """The panel.

    Attributes:
        metric: name of the score.
        axis: of parameters.
        scores: view of the score axis.
        front: by ascending parameters, baselines among them.
        baselines: those that are not on the front.
        others: searched trials that are not on the front, as far as they are in view.
        hidden: how many searched trials lie below the view.
        knee: the mark that ``--pick knee`` means; None with fewer than three on the front.
    """

    metric: str
    axis: ParamsAxis
    scores: tuple[float, float]
    front: tuple[Mark, ...]
    baselines: tuple[Mark, ...]
    others: tuple[Mark, ...]
    hidden: int
    knee: Mark | None

    @cached_property
    def crowded(self) -> bool:
        """Whether front marks are too near to each other to hold their numbers, or would hide a baseline."""
        among = any(math.dist(a.pixel, b.pixel) < 1.8 * FRONT_RADIUS for a, b in pairwise(self.front))
        return among or any(math.dist(a.pixel, b.pixel) < FRONT_RADIUS for a in self.front for b in self.baselines)

    @property
    def front_radius(self) -> float:
        """Radius of the front's marks."""
        return CROWDED_RADIUS if self.crowded else FRONT_RADIUS

    @property
    def steps(self) -> list[tuple[float, float]]:
        """Corners of the step line: the best score that each number of parameters reaches."""
        corners = [self.front[0].at]
        for before, after in pairwise(self.front):
            corners += [(after.at[0], before.at[1]), after.at]
        return [*corners, (self.axis.high, self.front[-1].at[1])]

    @cached_property
    def labels(self) -> list[Label]:
        """Names of the baselines and the knee, and numbers that have no room in their marks."""
        panel = Box(4, 16, PANEL_WIDTH - 4, HEIGHT - 4)
        wishes = [wish for wish in map(self._wish, (*self.front, *self.baselines)) if wish is not None]
        others = [Box.around(*mark.pixel, 2 * OTHER_RADIUS, 2 * OTHER_RADIUS) for mark in self.others]
        return place(_crowded_first(wishes), self._taken(), panel, [*others, *self._line_boxes()])

    def pixel(self, at: tuple[float, float]) -> tuple[float, float]:
        """Return the pixel of a place on the axes."""
        return _pixel(self.axis, self.scores, at)

    def place(self, pixel: tuple[float, float]) -> tuple[float, float]:
        """Return the place on the axes of a pixel."""
        low, high = self.scores
        across = self.axis.low + pixel[0] / PANEL_WIDTH * (self.axis.high - self.axis.low)
        return across, low + pixel[1] / HEIGHT * (high - low)

    def _wish(self, mark: Mark) -> Wish | None:
        number = [str(mark.number)] if mark.number and self.crowded else []
        name = [mark.row.name] if mark.row.baseline else []
        name += measures_text(mark.row)
        knee = ["knee"] if mark is self.knee else []
        text = "  ".join([*number, *name, *knee])
        radius = self.front_radius if mark.number else BASELINE_RADIUS
        colour = BASELINE_TEXT if mark.row.baseline else INK
        ring = 8 if mark is self.knee else 0
        return Wish(text, *mark.pixel, radius + ring, BODY, colour, bold=mark is self.knee) if text else None

    def _taken(self) -> list[Box]:
        boxes = []
        for mark in (*self.front, *self.baselines):
            size = 2 * (self.front_radius if mark.number else BASELINE_RADIUS) + (14 if mark is self.knee else 0)
            boxes.append(Box.around(*mark.pixel, size + 4, size + 4))
            reach = mark.spread / (self.scores[1] - self.scores[0]) * HEIGHT
            boxes.append(Box.around(*mark.pixel, 14, 2 * reach + 4))
        return boxes

    def _line_boxes(self) -> list[Box]:
        corners = [self.pixel(corner) for corner in self.steps]
        boxes = []
        for (x0, y0), (x1, y1) in pairwise(corners):
            boxes.append(Box(min(x0, x1) - 2, min(y0, y1) - 2, max(x0, x1) + 2, max(y0, y1) + 2))
        return boxes


def make_trade_off(answer: Answer) -> TradeOff:
    """Lay out the panel of an answer with a front."""
    on_front = {row.trial for row in answer.front}
    others = [row for row in answer.others if row.trial not in on_front]
    baselines = [row for row in answer.baselines if row.trial not in on_front]
    scores = _view(answer, others)
    shown = [row for row in others if row.score >= scores[0]]
    axis = ParamsAxis.spanning((r.params for r in (*answer.front, *baselines, *shown)), answer.base_parameters)

    def marks(rows: Iterable[Row], first: int | None = None) -> tuple[Mark, ...]:
        return tuple(_mark(axis, scores, row, 0 if first is None else first + i) for i, row in enumerate(rows))

    front = marks(answer.front, 1)
    knee = answer.pick("knee").trial if len(front) >= 3 else None
    return TradeOff(
        metric=answer.metric,
        axis=axis,
        scores=scores,
        front=front,
        baselines=marks(baselines),
        others=marks(shown),
        hidden=len(others) - len(shown),
        knee=next((mark for mark in front if mark.row.trial == knee), None),
    )


def _view(answer: Answer, others: Sequence[Row]) -> tuple[float, float]:
    """Return the range of scores to show: all of front and baselines, and the others that are not far below."""
    main = (*answer.front, *answer.baselines)
    low = min(row.score - (row.score_std or 0.0) for row in main)
    high = max(row.score + (row.score_std or 0.0) for row in main)
    span = high - low or max(abs(high) * 0.1, 1e-3)
    near = [row.score for row in others if row.score >= low - DEPTH_SHOWN * span]
    low = min([low, *near])
    span = high - low or span
    return low - 0.09 * span, high + 0.12 * span


def _mark(axis: ParamsAxis, scores: tuple[float, float], row: Row, number: int) -> Mark:
    at = axis.position(row.params), row.score
    return Mark(row, number, at, _pixel(axis, scores, at), row.score_std or 0.0)


def _pixel(axis: ParamsAxis, scores: tuple[float, float], at: tuple[float, float]) -> tuple[float, float]:
    low, high = scores
    return (at[0] - axis.low) / (axis.high - axis.low) * PANEL_WIDTH, (at[1] - low) / (high - low) * HEIGHT


def _crowded_first(wishes: Sequence[Wish]) -> list[Wish]:
    def room(wish: Wish) -> float:
        return min((math.dist((wish.x, wish.y), (w.x, w.y)) for w in wishes if w is not wish), default=math.inf)

    return sorted(wishes, key=lambda wish: (room(wish), wish.x, wish.text))
