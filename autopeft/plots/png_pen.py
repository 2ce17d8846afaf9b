"""What both panels of the PNG are drawn with; sizes are in pixels, places in the units of the axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from autopeft.plots.labels import Box
from autopeft.plots.palette import BASELINE, INK

DPI = 200
POINTS = 72 / DPI  # in a pixel


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
