"""What every PNG is drawn with; sizes are in pixels, places in the units of the axes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from autopeft.plots.labels import Box
from autopeft.plots.page import Line
from autopeft.plots.palette import BASELINE, INK

DPI = 200
POINTS = 72 / DPI  # in a pixel


def new_figure(width: float, height: float) -> Figure:
    """Return an empty page of that many pixels."""
    figure = Figure(figsize=(round(width) / DPI, round(height) / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def add_sheet(figure: Figure, zero: tuple[float, float] = (0, 0)) -> Axes:
    """Return invisible axes over the whole page whose units are its pixels, counted from ``zero``."""
    width, height = (DPI * inches for inches in figure.get_size_inches())
    sheet = figure.add_axes((0, 0, 1, 1))
    sheet.set_axis_off()
    sheet.set_xlim(-zero[0], width - zero[0])
    sheet.set_ylim(-zero[1], height - zero[1])
    return sheet


def to_png(figure: Figure) -> bytes:
    """Return the page as a file's content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches=None)
    return buffer.getvalue()


def write_lines(axes: Axes, lines: Iterable[Line]) -> None:
    """Write lines of a page."""
    for line in lines:
        weight, side = "bold" if line.bold else "normal", "center" if line.centred else "left"
        write(axes, line.text, line.x, line.y, line.size, color=line.colour, weight=weight, ha=side)


def write(axes: Axes, text: str, x: float, y: float, size: float, **style: Any) -> None:
    """Write a line of text, as it is: a dollar sign starts no formula."""
    style = {"ha": "center", "va": "center_baseline", "color": INK, "parse_math": False, **style}
    axes.text(x, y, text, fontsize=size * POINTS, family="DejaVu Sans", **style)


def dot(axes: Axes, at: tuple[float, float], radius: float, colour: str) -> None:
    """Draw a filled circle."""
    axes.plot(*at, "o", ms=2 * radius * POINTS, mfc=colour, mec="white", mew=0.8, zorder=6)


def diamond(axes: Axes, at: tuple[float, float], radius: float, *, filled: bool) -> None:
    """Draw a baseline's mark: filled if it is on the front."""
    face, edge, width = (BASELINE, "white", 0.8) if filled else ("white", BASELINE, 1.3)
    axes.plot(*at, "D", ms=1.7 * radius * POINTS, mfc=face, mec=edge, mew=width, zorder=6 if filled else 5)


def rectangles(axes: Axes, boxes: Iterable[Box], **style: Any) -> None:
    """Draw rectangles of one style."""
    corners = [[(b.left, b.bottom), (b.right, b.bottom), (b.right, b.top), (b.left, b.top)] for b in boxes]
    axes.add_collection(PolyCollection(corners, **style), autolim=False)
