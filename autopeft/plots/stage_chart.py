"""The picture of a stage: the answers by descending mean, each with its mean, deviation and single scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from autopeft.evidence import Stage, StageAnswer
from autopeft.plots.bars import Text
from autopeft.plots.chart import make_title
from autopeft.plots.labels import Box, text_size
from autopeft.plots.page import Line
from autopeft.plots.palette import INK, MUTED
from autopeft.plots.sizes import BODY, HEADING, RIGHT, SMALL, TITLE, WIDTH
from autopeft.plots.wording import score_text

MARGIN = RIGHT
WIDEST_LABEL, GAP = 560.0, 24.0
LINE_HEIGHT, LEAST_ROW = 1.3 * BODY, 46.0
BELOW_ROWS, ABOVE_ROWS = 130.0, 172.0
MEAN_RADIUS, SCORE_RADIUS = 9.0, 5.0
MEAN_RISE, SCORE_FALL = 6.0, 11.0  # above and below the middle of a row, so that neither hides the other
KEY_SCORES = MARGIN + 480.0
FAILED = "every run failed"


@dataclass(frozen=True)
class AnswerRow:
    """An answer's row.

    Attributes:
        best: whether the answer was kept.
        y: its middle.
        box: all of it.
        mean: place of its mean; None where every run failed.
        spread: places of one deviation below and above the mean; None where there is none.
        scores: places of its single scores.
        lines: its label and its numbers.
    """

    answer: StageAnswer
    best: bool
    y: float
    box: Box
    mean: float | None
    spread: tuple[float, float] | None
    scores: tuple[float, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class StageChart:
    """The picture, in pixels of the page.

    Attributes:
        plot: where means and scores are.
        rows: from the best answer down.
        ticks: labels of the score axis, with their places.
        lines: titles, and what is under the axis.
        key: places of the sample marks of a mean with its deviation, and of a score.
        size: width and height of the page.
    """

    plot: Box
    rows: tuple[AnswerRow, ...]
    ticks: tuple[Text, ...]
    lines: tuple[Line, ...]
    key: tuple[tuple[float, float], tuple[float, float]]
    size: tuple[float, float]


@dataclass(frozen=True)
class _Axis:
    """From scores to pixels."""

    low: float
    high: float
    left: float
    right: float

    def position(self, score: float) -> float:
        """Return the place of a score."""
        return self.left + (score - self.low) / (self.high - self.low) * (self.right - self.left)

    def ticks(self, y: float) -> Iterator[Text]:
        """Yield round scores that are in view, all with the same number of decimals."""
        found = [float(tick) for tick in MaxNLocator(6).tick_values(self.low, self.high)]
        decimals = max(_decimals(tick) for tick in found)
        for tick in found:
            if self.low <= tick <= self.high:
                yield Text(f"{tick:.{decimals}f}", self.position(tick), y, BODY)


def make_stage_chart(stage: Stage, name: str, metric: str) -> StageChart:
    """Lay out the picture of a stage; ``name`` is of the search and the stage's number."""
    labels = [wrap(one.label, WIDEST_LABEL) for one in stage.ranked]
    plot = _plot(stage, labels)
    axis = _axis(stage, plot)
    height = plot.top + ABOVE_ROWS
    below = Line(metric, plot.centre[0], 50, BODY, centred=True)
    key_y = height - 136
    return StageChart(
        plot=plot,
        rows=tuple(_rows(stage, labels, axis, plot)),
        ticks=tuple(axis.ticks(plot.bottom - 26)),
        lines=(*_titles(stage, name, height), *_key_lines(key_y), below),
        key=((MARGIN + 30, key_y), (KEY_SCORES, key_y)),
        size=(WIDTH, height),
    )


def wrap(text: str, width: float) -> list[str]:
    """Return the text in lines of at most that width; a word that is longer loses its end."""
    lines: list[str] = []
    for word in text.split() or [""]:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_cut(word, width))
    return lines


def _width(text: str) -> float:
    return text_size(text, BODY, bold=True)[0]


def _cut(word: str, width: float) -> str:
    shown = word
    while _width(shown) > width:
        shown = shown.rstrip("…")[:-1] + "…"
    return shown


def _decimals(number: float) -> int:
    _, _, fraction = f"{number:.8f}".rstrip("0").partition(".")
    return len(fraction)


def _axis(stage: Stage, plot: Box) -> _Axis:
    """Return an axis with room for every score and deviation."""
    found = [score for one in stage.answers for score in (*one.scores, *_spread(one))]
    low, high = min(found), max(found)
    room = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-3)
    return _Axis(low - room, high + room, plot.left, plot.right)


def _spread(one: StageAnswer) -> tuple[float, ...]:
    if one.mean is None or one.std is None:
        return ()
    return one.mean - one.std, one.mean + one.std


def _numbers(one: StageAnswer) -> str:
    if one.mean is None:
        return FAILED
    spread = "" if one.std is None else f" ± {score_text(one.std)}"
    return f"{score_text(one.mean)}{spread}  ({len(one.scores)})"


def _row_height(label: Sequence[str]) -> float:
    return max(LEAST_ROW, len(label) * LINE_HEIGHT + 14)


def _plot(stage: Stage, labels: Sequence[Sequence[str]]) -> Box:
    """Return what labels and numbers leave of the page."""
    widest = max(_width(line) for label in labels for line in label)
    numbers = max(text_size(_numbers(one), SMALL, bold=True)[0] for one in stage.ranked)
    top = BELOW_ROWS + sum(map(_row_height, labels))
    return Box(MARGIN + widest + GAP, BELOW_ROWS, WIDTH - MARGIN - numbers - GAP, top)


def _rows(stage: Stage, labels: Sequence[Sequence[str]], axis: _Axis, plot: Box) -> Iterator[AnswerRow]:
    top = plot.top
    for one, label in zip(stage.ranked, labels, strict=True):
        box = Box(MARGIN - 10, top - _row_height(label), WIDTH - MARGIN + 10, top)
        yield _row(one, one is stage.winner, box, label, axis)
        top = box.bottom


def _row(one: StageAnswer, best: bool, box: Box, label: Sequence[str], axis: _Axis) -> AnswerRow:
    y, colour, spread = box.centre[1], INK if best else MUTED, _spread(one)
    first = y + (len(label) - 1) * LINE_HEIGHT / 2
    lines = [Line(text, MARGIN, first - i * LINE_HEIGHT, BODY, INK, bold=best) for i, text in enumerate(label)]
    return AnswerRow(
        answer=one,
        best=best,
        y=y,
        box=box,
        mean=None if one.mean is None else axis.position(one.mean),
        spread=(axis.position(spread[0]), axis.position(spread[1])) if spread else None,
        scores=tuple(map(axis.position, one.scores)),
        lines=(*lines, Line(_numbers(one), axis.right + GAP, y, SMALL, colour, bold=best)),
    )


def _titles(stage: Stage, name: str, height: float) -> tuple[Line, Line]:
    answers = "1 answer" if len(stage.answers) == 1 else f"{len(stage.answers)} answers"
    return (
        Line(make_title(" ".join(name.split()), f": {stage.stage}"), MARGIN, height - 44, TITLE, bold=True),
        Line(f"{answers}; the best mean is kept", MARGIN, height - 90, HEADING, MUTED),
    )


def _key_lines(y: float) -> tuple[Line, Line]:
    return (
        Line("mean, with one deviation to either side", MARGIN + 70, y, SMALL, MUTED),
        Line("score of one architecture; their number in brackets", KEY_SCORES + 16, y, SMALL, MUTED),
    )
