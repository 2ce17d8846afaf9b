"""HTML by plotly: one file that opens without a network, with the architecture of every point on hover."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
import plotly.io

from autopeft.plots.base import Chart, PlotFormat
from autopeft.plots.html_layers import draw_layers
from autopeft.plots.html_pen import FONT, MONOSPACE, SCALE, Style, body, diamond, dot, draw_marks, row_text, write
from autopeft.plots.labels import Label
from autopeft.plots.page import BELOW_PLOT, KeyEntry, Line, Page
from autopeft.plots.palette import BASELINE, FAINT, GRID, INK, MUTED
from autopeft.plots.sizes import BODY, LEFT, RIGHT, SMALL, WIDTH
from autopeft.plots.trade_off import BASELINE_RADIUS, HEIGHT, OTHER_RADIUS, Mark, TradeOff

# Nothing is loaded from anywhere, even if a plotly to come would like to.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>body {{ margin: 0; background: #fff; color-scheme: light }} main {{ width: {width}px; margin: 0 auto }}</style>
</head>
<body><main>
{figure}
</main></body>
</html>
"""


def render(chart: Chart) -> bytes:
    """Return the chart as a whole HTML document."""
    config = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
    figure = plotly.io.to_html(make_figure(chart), full_html=False, include_plotlyjs=True, config=config)
    width = round(WIDTH * SCALE)
    return DOCUMENT.format(policy=POLICY, title=escape(chart.title), width=width, figure=figure).encode()


PLOT_FORMAT = PlotFormat(summary="a page to look into, self-contained", render=render)


def make_figure(chart: Chart) -> go.Figure:
    """Return the chart as a plotly figure.

    Axes ``x`` and ``y`` hold the first panel; ``x2``, ``y2`` and ``x3``, ``y3`` the page under and over it, in pixels.
    """
    page = Page.of(chart)
    figure = go.Figure(layout=_layout(page))
    draw_layers(figure, page)
    _draw_trade_off(figure, chart.trade_off)
    for line in page.lines:
        write(figure, page, line)
    for entry in page.key:
        draw_marks(figure, [(entry.x, entry.y)], _key_style(entry), "3", name="key")
        write(figure, page, Line(entry.text, entry.x + 22, entry.y, SMALL, MUTED))
    return figure


def _layout(page: Page) -> Style:
    return {
        "width": round(WIDTH * SCALE),
        "height": round(page.height * SCALE),
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0, "pad": 0},
        "font": {"family": FONT, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hovermode": "closest",
        "barmode": "overlay",
        "modebar": {"orientation": "v", "bgcolor": "rgba(0,0,0,0)"},
        "hoverlabel": {
            "bgcolor": "white",
            "bordercolor": MUTED,
            "align": "left",
            "font": {"family": MONOSPACE, "size": 12.5, "color": INK},
        },
        **_trade_off_axes(page),
        **_page_axes(page, "2", 0, page.plot_bottom - BELOW_PLOT),
        **_page_axes(page, "3", page.plot_bottom + HEIGHT, page.height),
    }


def _page_axes(page: Page, number: str, bottom: float, top: float) -> Style:
    """Return invisible axes over the page from one height to another, whose units are its pixels."""
    hidden = {"visible": False, "fixedrange": True}
    domain = [bottom / page.height, top / page.height]
    return {
        f"xaxis{number}": {**hidden, "domain": [0, 1], "range": [0, WIDTH], "anchor": f"y{number}"},
        f"yaxis{number}": {**hidden, "domain": domain, "range": [bottom, top], "anchor": f"x{number}"},
    }


def _trade_off_axes(page: Page) -> Style:
    panel, axis = page.chart.trade_off, page.chart.trade_off.axis
    look = {"gridcolor": GRID, "zeroline": False, "ticks": "outside", "tickcolor": FAINT, "tickfont": body(BODY)}
    minor = {"tickvals": list(axis.minor_ticks), "ticks": "outside", "tickcolor": FAINT, "ticklen": 3}
    return {
        "xaxis": {
            **look,
            "domain": [LEFT / WIDTH, 1 - RIGHT / WIDTH],
            "range": [axis.low, axis.high],
            "tickvals": [tick.at for tick in axis.ticks],
            "ticktext": ["<br>".join(tick.lines) for tick in axis.ticks],
            "minor": minor,
            "linecolor": FAINT,
        },
        "yaxis": {
            **look,
            "domain": [page.plot_bottom / page.height, (page.plot_bottom + HEIGHT) / page.height],
            "range": list(panel.scores),
            "title": {"text": escape(panel.metric), "font": body(BODY), "standoff": 12},
        },
    }


def _key_style(entry: KeyEntry) -> Style:
    if entry.kind == "front":
        return dot(11, INK)
    if entry.kind == "other":
        return dot(OTHER_RADIUS, FAINT)
    return diamond(11, filled=entry.kind == "front baseline")


def _draw_trade_off(figure: go.Figure, panel: TradeOff) -> None:
    _draw_rows(figure, panel.others, "others", dot(OTHER_RADIUS, FAINT), MUTED)
    xs, ys = zip(*panel.steps, strict=True)
    figure.add_scatter(x=xs, y=ys, mode="lines", line={"color": INK, "width": 2}, name="step", hoverinfo="skip")
    _draw_rows(figure, panel.baselines, "baselines", diamond(BASELINE_RADIUS, filled=False), BASELINE)
    radius, numbered = panel.front_radius, not panel.crowded
    if panel.knee:
        ring = {**dot(radius + 7, INK), "symbol": "circle-open", "line": {"width": 1.6}}
        draw_marks(figure, [panel.knee.at], ring, name="knee")
    searched = [mark for mark in panel.front if not mark.row.baseline]
    hand_made = [mark for mark in panel.front if mark.row.baseline]
    _draw_rows(figure, searched, "front", dot(radius, INK), INK, numbered=numbered)
    _draw_rows(figure, hand_made, "front baselines", diamond(1.1 * radius, filled=True), BASELINE, numbered=numbered)
    for label in panel.labels:
        _draw_label(figure, panel, label)
    if panel.axis.cut is not None:
        look = {
            "text": "//",
            "font": body(BODY, MUTED),
            "bgcolor": "white",
            "borderpad": 0,
            "showarrow": False,
            "yanchor": "middle",
        }
        figure.add_annotation(x=panel.axis.cut, y=0, yref="y domain", **look)


def _draw_rows(
    figure: go.Figure, marks: Sequence[Mark], name: str, style: Style, colour: str, *, numbered: bool = False
) -> None:
    if not marks:
        return
    spreads = [mark.spread for mark in marks]
    shown = name != "others" and any(spreads)
    draw_marks(
        figure,
        [mark.at for mark in marks],
        style,
        numbers=[mark.number for mark in marks] if numbered else (),
        hover=[row_text(mark.number, mark.row) for mark in marks],
        error_y={"array": spreads, "color": colour, "thickness": 1.4, "width": 4, "visible": shown},
        name=name,
    )


def _draw_label(figure: go.Figure, panel: TradeOff, label: Label) -> None:
    """Write a label at its distance in pixels from its point, so that it stays there when the view is zoomed."""
    wish = label.wish
    x, y = panel.place((wish.x, wish.y))
    across, up = ((centre - anchor) * SCALE for centre, anchor in zip(label.box.centre, (wish.x, wish.y), strict=True))
    text = f"<b>{escape(wish.text)}</b>" if wish.bold else escape(wish.text)
    look = {"text": text, "font": body(wish.size, wish.colour), "xref": "x", "yref": "y", "borderpad": 1}
    if label.leader:
        line = {"arrowhead": 0, "arrowwidth": 1, "arrowcolor": wish.colour, "standoff": wish.radius * SCALE}
        figure.add_annotation(x=x, y=y, ax=across, ay=-up, showarrow=True, **line, **look)
    else:
        figure.add_annotation(x=x, y=y, xshift=across, yshift=up, showarrow=False, **look)
