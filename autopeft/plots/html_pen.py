"""What both panels of the HTML are drawn with; sizes and places are in pixels of the chart's page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import plotly.graph_objects as go

from autopeft.answer import Row
from autopeft.plots.page import Line, Page
from autopeft.plots.palette import BASELINE, INK
from autopeft.plots.sizes import SMALL, WIDTH
from autopeft.plots.wording import architecture_text, evidence_text, measures_text, percent_text

SCALE = 0.7  # of a pixel of the chart's page: 1120 of them side by side
FONT = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
MONOSPACE = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

Style = dict[str, Any]


def dot(radius: float, colour: str) -> Style:
    """Return the style of filled circles."""
    return {"symbol": "circle", "size": 2 * radius * SCALE, "color": colour, "line": {"color": "white", "width": 1}}


def diamond(radius: float, *, filled: bool) -> Style:
    """Return the style of baselines' marks: filled if they are on the front."""
    face, edge, width = (BASELINE, "white", 1.0) if filled else ("white", BASELINE, 1.8)
    return {"symbol": "diamond", "size": 1.9 * radius * SCALE, "color": face, "line": {"color": edge, "width": width}}


def write(figure: go.Figure, page: Page, line: Line, angle: int = 0) -> None:
    """Write a line of text on the page; with an angle of -90 upwards, ending at its place."""
    text = escape(line.text)
    figure.add_annotation(
        text=f"<b>{text}</b>" if line.bold else text,
        x=line.x / WIDTH,
        y=line.y / page.height,
        xref="paper",
        yref="paper",
        xanchor="center" if line.centred or angle else "left",
        yanchor="top" if angle else "middle",
        textangle=angle,
        showarrow=False,
        font={"size": line.size * SCALE, "color": line.colour},
    )


def draw_marks(
    figure: go.Figure,
    places: Iterable[tuple[float, float]],
    style: Style,
    axes: str = "",
    *,
    numbers: Iterable[int] = (),
    hover: Iterable[str] = (),
    **more: Any,
) -> None:
    """Draw marks, with numbers in them and texts on hover if there are any; ``axes`` is the pair's number."""
    xs, ys = zip(*places, strict=True)
    texts, hovers = [f"<b>{number}</b>" for number in numbers], list(hover)
    figure.add_scatter(
        x=xs,
        y=ys,
        xaxis=f"x{axes}",
        yaxis=f"y{axes}",
        mode="markers+text" if texts else "markers",
        marker=style,
        text=texts or None,
        textfont={"color": "white", "size": SMALL * SCALE},
        hovertext=hovers or None,
        hoverinfo="text" if hovers else "skip",
        cliponaxis=False,
        **more,
    )


def row_text(number: int, row: Row) -> str:
    """Return what a row's mark says on hover; ``number`` is its place on the front, else 0."""
    lines = [
        f"<b>{f'{number}  ' if number else ''}{escape(row.name)}</b>",
        f"trial   {row.trial}",
        f"params  {row.params:,} ({percent_text(row.params_percent)} of the base model)",
        f"score   {escape(evidence_text(row))}",
        *(f"{name}  {escape(text)}" for name, text in zip(row.measures, measures_text(row), strict=True)),
        "",
        *map(escape, architecture_text(row.architecture)),
    ]
    return "<br>".join(lines)


def body(size: float, colour: str = INK) -> Style:
    """Return a font of that size."""
    return {"size": size * SCALE, "color": colour}
