"""The second panel of the HTML, on the axes ``x2`` and ``y2``, which hold pixels of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import plotly.graph_objects as go

from autopeft.plots.bars import Bar, Text
from autopeft.plots.html_pen import SCALE, Style, diamond, dot, draw_marks, row_text, write
from autopeft.plots.labels import Box
from autopeft.plots.layers import LayerPanel
from autopeft.plots.page import Line, Page
from autopeft.plots.palette import CELL, INK, MUTED, ink_on, module_name, tint
from autopeft.plots.sizes import BODY, LEFT, SMALL


def draw_layers(figure: go.Figure, page: Page) -> None:
    """Draw the panel."""
    panel, zero = page.chart.layers, page.layers_zero
    _draw_boxes(figure, zero, panel.cells, {"color": CELL}, "cells")
    for (module, sized), bars in panel.bars_by_look.items():
        boxes, hover = [bar.box for bar in bars], [_bar_text(bar) for bar in bars]
        _draw_boxes(figure, zero, boxes, _fill(panel, module, sized), module_name(module), hover)
    for inside in (True, False):
        _draw_sizes(figure, zero, panel, inside)
    for entry in panel.legend:
        swatch = Box(entry.x, entry.y - 11, entry.x + 26, entry.y + 11)
        _draw_boxes(figure, zero, [swatch], _fill(panel, entry.module, entry.sized), "legend")
        write(figure, page, Line(entry.text, LEFT + entry.x + 34, zero + entry.y, BODY))
    _draw_columns(figure, page, panel)
    _draw_margin(figure, page, panel)


def _draw_boxes(
    figure: go.Figure, zero: float, boxes: Sequence[Box], style: Style, name: str, hover: Sequence[str] = ()
) -> None:
    figure.add_bar(
        x=[LEFT + box.left for box in boxes],
        y=[box.top - box.bottom for box in boxes],
        base=[zero + box.bottom for box in boxes],
        width=[box.right - box.left for box in boxes],
        offset=0,
        marker=style,
        hovertext=list(hover) or None,
        hoverinfo="text" if hover else "skip",
        name=escape(name),
        xaxis="x2",
        yaxis="y2",
    )


def _fill(panel: LayerPanel, module: str, sized: bool) -> Style:
    colour = panel.colours[module]
    if sized:
        return {"color": colour, "line": {"width": 0}}
    pattern = {"shape": "/", "fgcolor": colour, "bgcolor": tint(colour, 0.25), "size": 7, "solidity": 0.2}
    return {"color": tint(colour, 0.25), "line": {"color": colour, "width": 0.8}, "pattern": pattern}


def _bar_text(bar: Bar) -> str:
    placement = bar.placement
    size = f", size {placement.size}" if placement.size else ""
    lines = [f"<b>{bar.column + 1}  {escape(module_name(placement.module))}{size}</b>"]
    lines.append(f"layer {placement.layer}, {escape(placement.site)}")
    lines += [f"{escape(name)}: {escape(str(value))}" for name, value in placement.options]
    return "<br>".join(lines)


def _draw_sizes(figure: go.Figure, zero: float, panel: LayerPanel, inside: bool) -> None:
    """Write the sizes that stand in the bars, or those over them."""
    labels = [(bar.label, bar.placement.module) for bar in panel.bars if bar.label and bar.inside is inside]
    colours = [ink_on(panel.colours[module]) if inside else INK for _, module in labels]
    texts = [label for label, _ in labels] + ([] if inside else list(panel.strip))
    if texts:
        _draw_texts(figure, zero, texts, colours + [INK] * (len(texts) - len(labels)))


def _draw_texts(figure: go.Figure, zero: float, texts: Sequence[Text], colours: Sequence[str]) -> None:
    figure.add_scatter(
        x=[LEFT + text.x for text in texts],
        y=[zero + text.y for text in texts],
        text=[text.text for text in texts],
        mode="text",
        textfont={"size": texts[0].size * SCALE, "color": list(colours)},
        hoverinfo="skip",
        xaxis="x2",
        yaxis="y2",
    )


def _draw_columns(figure: go.Figure, page: Page, panel: LayerPanel) -> None:
    for hand_made, style in ((False, dot(16, INK)), (True, diamond(18, filled=True))):
        columns = [column for column in panel.columns if column.row.baseline is hand_made]
        if columns:
            draw_marks(
                figure,
                [(LEFT + column.x, page.layers_zero + panel.badge_height) for column in columns],
                style,
                "2",
                numbers=[column.number for column in columns],
                hover=[row_text(column.number, column.row) for column in columns],
                name="columns",
            )
    for column in panel.columns:
        x, y = LEFT + column.x, page.layers_zero + panel.captions_top
        if panel.upright:
            write(figure, page, Line("   ".join(column.captions), x, y, SMALL), angle=-90)
            continue
        for line, text in enumerate(column.captions):
            y = page.layers_zero + panel.caption_height(line)
            write(figure, page, Line(text, x, y, SMALL, bold=line == 0, centred=True))


def _draw_margin(figure: go.Figure, page: Page, panel: LayerPanel) -> None:
    """Write what stands beside and under the grid."""
    zero = page.layers_zero
    _centred(figure, page, panel.layer_marks, INK)
    _centred(figure, page, panel.caption_names, MUTED)
    for mark in panel.sites:
        write(figure, page, Line(mark.text, LEFT + mark.x, zero + mark.y, mark.size, MUTED), angle=-90)
    if panel.depth:
        middle = zero + panel.depth * panel.row_height / 2
        write(figure, page, Line("layer", LEFT - 86, middle + 26, BODY), angle=-90)


def _centred(figure: go.Figure, page: Page, texts: Iterable[Text], colour: str) -> None:
    for text in texts:
        write(figure, page, Line(text.text, LEFT + text.x, page.layers_zero + text.y, text.size, colour, centred=True))
