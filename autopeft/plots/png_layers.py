"""The second panel of the PNG."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from autopeft.plots.labels import Box
from autopeft.plots.layers import LayerPanel
from autopeft.plots.palette import CELL, INK, MUTED, ink_on, tint
from autopeft.plots.png_pen import diamond, dot, rectangles, write
from autopeft.plots.sizes import BODY, SMALL

HATCH = "////"


def draw_layers(axes: Axes, panel: LayerPanel) -> None:
    """Draw the panel on axes whose units are its pixels."""
    rectangles(axes, panel.cells, facecolor=CELL, linewidth=0)
    for (module, sized), bars in panel.bars_by_look.items():
        rectangles(axes, [bar.box for bar in bars], **_fill(panel, module, sized))
    for bar in panel.bars:
        if bar.label:
            colour = ink_on(panel.colours[bar.placement.module]) if bar.inside else INK
            write(axes, bar.label.text, bar.label.x, bar.label.y, bar.label.size, color=colour)
    for text in (*panel.strip, *panel.layer_marks):
        write(axes, text.text, text.x, text.y, text.size)
    for text in panel.sites:
        write(axes, text.text, text.x, text.y, text.size, rotation=90, va="top", color=MUTED)
    if panel.depth:
        write(axes, "layer", -86, panel.depth * panel.row_height / 2, BODY, rotation=90, va="center")
    for entry in panel.legend:
        swatch = Box(entry.x, entry.y - 11, entry.x + 26, entry.y + 11)
        rectangles(axes, [swatch], **_fill(panel, entry.module, entry.sized))
        write(axes, entry.text, entry.x + 34, entry.y, BODY, ha="left")
    _draw_columns(axes, panel)


def _fill(panel: LayerPanel, module: str, sized: bool) -> dict[str, Any]:
    colour = panel.colours[module]
    if sized:
        return {"facecolor": colour, "linewidth": 0}
    return {"facecolor": tint(colour, 0.25), "edgecolor": colour, "hatch": HATCH, "linewidth": 0.5}


def _draw_columns(axes: Axes, panel: LayerPanel) -> None:
    for text in panel.caption_names:
        write(axes, text.text, text.x, text.y, text.size, color=MUTED)
    for column in panel.columns:
        at = (column.x, panel.badge_height)
        if column.row.baseline:
            diamond(axes, at, 18, filled=True)
        else:
            dot(axes, at, 16, INK)
        write(axes, str(column.number), *at, SMALL, color="white", weight="bold", zorder=7)
        if panel.upright:
            joined = "   ".join(column.captions)
            write(axes, joined, column.x, panel.captions_top, SMALL, rotation=90, va="top")
            continue
        for line, caption in enumerate(column.captions):
            weight = "bold" if line == 0 else "normal"
            write(axes, caption, column.x, panel.caption_height(line), SMALL, weight=weight)
