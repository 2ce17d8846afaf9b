"""PNG by matplotlib, 1600 pixels wide at 200 dots an inch."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from autopeft.plots.base import Chart, PlotFormat
from autopeft.plots.labels import Label
from autopeft.plots.page import KeyEntry, Page
from autopeft.plots.palette import BASELINE, FAINT, GRID, INK, MUTED
from autopeft.plots.png_layers import draw_layers
from autopeft.plots.png_pen import POINTS, add_sheet, diamond, dot, new_figure, to_png, write, write_lines
from autopeft.plots.sizes import BODY, LEFT, PANEL_WIDTH, SMALL, WIDTH
from autopeft.plots.trade_off import BASELINE_RADIUS, HEIGHT, OTHER_RADIUS, Mark, TradeOff


def render(chart: Chart) -> bytes:
    """Return the chart as a PNG."""
    page = Page.of(chart)
    figure = new_figure(WIDTH, page.height)
    _draw_surroundings(add_sheet(figure), page)
    draw_layers(add_sheet(figure, (LEFT, page.layers_zero)), chart.layers)
    plot = figure.add_axes((LEFT / WIDTH, page.plot_bottom / page.height, PANEL_WIDTH / WIDTH, HEIGHT / page.height))
    _draw_axes(plot, chart.trade_off)
    _draw_trade_off(plot, chart.trade_off)
    return to_png(figure)


PLOT_FORMAT = PlotFormat(summary="a picture, 1600 pixels wide", render=render)


def _draw_surroundings(axes: Axes, page: Page) -> None:
    write_lines(axes, page.lines)
    for entry in page.key:
        _draw_key(axes, entry)


def _draw_key(axes: Axes, entry: KeyEntry) -> None:
    at = (entry.x, entry.y)
    if entry.kind == "front":
        dot(axes, at, 11, INK)
    elif entry.kind == "other":
        dot(axes, at, OTHER_RADIUS, FAINT)
    else:
        diamond(axes, at, 10, filled=entry.kind == "front baseline")
    write(axes, entry.text, entry.x + 22, entry.y, SMALL, ha="left", color=MUTED)


def _draw_axes(axes: Axes, panel: TradeOff) -> None:
    axis = panel.axis
    axes.set_xlim(axis.low, axis.high)
    axes.set_ylim(*panel.scores)
    axes.xaxis.set_major_locator(FixedLocator([tick.at for tick in axis.ticks]))
    axes.xaxis.set_minor_locator(FixedLocator(list(axis.minor_ticks)))
    axes.set_xticklabels(["\n".join(tick.lines) for tick in axis.ticks])
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.tick_params(labelsize=BODY * POINTS, length=4, color=FAINT, labelcolor=INK, pad=4)
    axes.tick_params(which="minor", length=2, color=FAINT)
    axes.set_ylabel(panel.metric, fontsize=BODY * POINTS, color=INK, parse_math=False)
    axes.yaxis.set_label_coords(-92 / PANEL_WIDTH, 0.5)
    axes.grid(True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    if axis.cut is not None:
        _draw_cut(axes, panel, axis.cut)


def _draw_cut(axes: Axes, panel: TradeOff, cut: float) -> None:
    """Break the axis between zero and its logarithmic part."""
    x, _ = panel.pixel((cut, 0))
    for shift, width, colour in ((0, 7, "white"), (-5, 1, MUTED), (5, 1, MUTED)):
        ends = [panel.place((x + shift - 5, -11)), panel.place((x + shift + 5, 11))]
        axes.plot(*zip(*ends, strict=True), color=colour, linewidth=width, clip_on=False, zorder=9)


def _draw_trade_off(axes: Axes, panel: TradeOff) -> None:
    if panel.others:
        xs, ys = zip(*(mark.at for mark in panel.others), strict=True)
        axes.scatter(xs, ys, s=(2 * OTHER_RADIUS * POINTS) ** 2, color=FAINT, linewidths=0, alpha=0.8, zorder=2)
    axes.plot(*zip(*panel.steps, strict=True), color=INK, linewidth=1.4, zorder=3, solid_joinstyle="miter")
    for mark in panel.baselines:
        _draw_spread(axes, mark, BASELINE)
        diamond(axes, mark.at, BASELINE_RADIUS, filled=False)
    for mark in panel.front:
        _draw_spread(axes, mark, BASELINE if mark.row.baseline else INK)
        _draw_front_mark(axes, panel, mark)
    for label in panel.labels:
        _draw_label(axes, panel, label)


def _draw_spread(axes: Axes, mark: Mark, colour: str) -> None:
    if mark.spread:
        axes.errorbar(*mark.at, yerr=mark.spread, color=colour, elinewidth=1, capsize=2.5, capthick=1, zorder=4)


def _draw_front_mark(axes: Axes, panel: TradeOff, mark: Mark) -> None:
    radius = panel.front_radius
    if mark is panel.knee:
        axes.plot(*mark.at, "o", ms=2 * (radius + 7) * POINTS, mfc="none", mec=INK, mew=1.2, zorder=5)
    if mark.row.baseline:
        diamond(axes, mark.at, radius * 1.1, filled=True)
    else:
        dot(axes, mark.at, radius, INK)
    if not panel.crowded:
        write(axes, str(mark.number), *mark.at, SMALL, color="white", weight="bold", zorder=7)


def _draw_label(axes: Axes, panel: TradeOff, label: Label) -> None:
    wish = label.wish
    if label.leader:
        ends = [panel.place(end) for end in label.leader]
        axes.plot(*zip(*ends, strict=True), color=wish.colour, linewidth=0.7, alpha=0.7, zorder=4)
    weight = "bold" if wish.bold else "normal"
    write(axes, wish.text, *panel.place(label.box.centre), wish.size, color=wish.colour, weight=weight, zorder=8)
