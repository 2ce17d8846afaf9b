"""PNG of the evidence: what a structure search found, and how a stage was decided."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes

from autopeft.plots.gate_map import Cell, GateMap
from autopeft.plots.labels import Box
from autopeft.plots.palette import CELL, FAINT, GRID, INK, KEPT, MUTED, ink_on
from autopeft.plots.png_pen import POINTS, add_sheet, dot, new_figure, rectangles, to_png, write, write_lines
from autopeft.plots.sizes import BODY
from autopeft.plots.stage_chart import MEAN_RADIUS, MEAN_RISE, SCORE_FALL, SCORE_RADIUS, AnswerRow, StageChart

KEY_REACH = 24.0


def render_gate_map(picture: GateMap) -> bytes:
    """Return the picture of a structure search as a PNG."""
    figure = new_figure(*picture.size)
    sheet = add_sheet(figure, picture.zero)
    _draw_cells(sheet, picture.cells)
    _outline(sheet, [cell.box for cell in picture.kept], picture.outline)
    _fill(sheet, picture.bands)
    for text in picture.marks:
        write(sheet, text.text, text.x, text.y, text.size)
    for text in picture.sites:
        write(sheet, text.text, text.x, text.y, text.size, rotation=90, va="top")
    middle = max(cell.box.top for cell in picture.cells) / 2
    write(sheet, "layer", -86, middle, BODY, rotation=90, va="center")
    _fill(sheet, [(swatch.box, swatch.colour) for swatch in picture.legend])
    _fill(sheet, picture.key.bar)
    _outline(sheet, [picture.key.outline], picture.outline)
    write_lines(sheet, (*picture.titles, *picture.key.lines, *(swatch.name for swatch in picture.legend)))
    return to_png(figure)


def _draw_cells(sheet: Axes, cells: Iterable[Cell]) -> None:
    cells = list(cells)
    rectangles(sheet, [cell.box for cell in cells], facecolors=[cell.colour for cell in cells], linewidth=0)
    for cell in cells:
        if cell.value:
            write(sheet, cell.value.text, cell.value.x, cell.value.y, cell.value.size, color=ink_on(cell.colour))


def _fill(sheet: Axes, parts: Iterable[tuple[Box, str]]) -> None:
    parts = list(parts)
    rectangles(sheet, [box for box, _ in parts], facecolors=[colour for _, colour in parts], linewidth=0)


def _outline(sheet: Axes, boxes: Iterable[Box], width: float) -> None:
    """Draw the edges of boxes inside them, so that those of neighbours stay apart."""
    inset = width / 2
    inner = [Box(b.left + inset, b.bottom + inset, b.right - inset, b.top - inset) for b in boxes]
    rectangles(sheet, inner, facecolor="none", edgecolor=KEPT, linewidth=width * POINTS, joinstyle="miter")


def render_stage(chart: StageChart) -> bytes:
    """Return the picture of a stage as a PNG."""
    figure = new_figure(*chart.size)
    sheet = add_sheet(figure)
    rectangles(sheet, [row.box for row in chart.rows if row.best], facecolor=CELL, linewidth=0)
    for tick in chart.ticks:
        sheet.plot([tick.x] * 2, [chart.plot.bottom, chart.plot.top], color=GRID, linewidth=0.8, zorder=1)
        write(sheet, tick.text, tick.x, tick.y, tick.size)
    sheet.plot([chart.plot.left, chart.plot.right], [chart.plot.bottom] * 2, color=FAINT, linewidth=0.8, zorder=1)
    for row in chart.rows:
        _draw_row(sheet, row)
    (mean_x, mean_y), score = chart.key
    _draw_mean(sheet, mean_x, mean_y, (mean_x - KEY_REACH, mean_x + KEY_REACH), INK)
    _draw_score(sheet, *score)
    write_lines(sheet, chart.lines)
    return to_png(figure)


def _draw_row(sheet: Axes, row: AnswerRow) -> None:
    write_lines(sheet, row.lines)
    if row.mean is not None:
        _draw_mean(sheet, row.mean, row.y + MEAN_RISE, row.spread, INK if row.best else MUTED)
    for score in row.scores:
        _draw_score(sheet, score, row.y - SCORE_FALL)


def _draw_mean(sheet: Axes, x: float, y: float, spread: tuple[float, float] | None, colour: str) -> None:
    if spread:
        reach = [[x - spread[0]], [spread[1] - x]]
        sheet.errorbar(x, y, xerr=reach, color=colour, elinewidth=1.2, capsize=3, capthick=1.2, zorder=4)
    dot(sheet, (x, y), MEAN_RADIUS, colour)


def _draw_score(sheet: Axes, x: float, y: float) -> None:
    sheet.plot(x, y, "o", ms=2 * SCORE_RADIUS * POINTS, mfc="none", mec=MUTED, mew=0.8, zorder=5)
