"""Where the panels and the texts around them are on the page, in pixels from its bottom left corner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from autopeft.plots.base import Chart
from autopeft.plots.labels import text_size
from autopeft.plots.palette import INK, MUTED
from autopeft.plots.sizes import BODY, HEADING, LEFT, SMALL, TITLE, WIDTH
from autopeft.plots.trade_off import HEIGHT as PLOT_HEIGHT
from autopeft.plots.trade_off import TradeOff
from autopeft.plots.wording import params_text

MarkKind = Literal["front", "front baseline", "baseline", "other"]
ABOVE_PLOT, BELOW_PLOT, ABOVE_LAYERS, BELOW_LAYERS = 164, 130, 108, 56


@dataclass(frozen=True)
class Line:
    """A line of text with its left or middle end at a place."""

    text: str
    x: float
    y: float
    size: float
    colour: str = INK
    bold: bool = False
    centred: bool = False


@dataclass(frozen=True)
class KeyEntry:
    """A kind of mark and what it means."""

    kind: MarkKind
    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Page:
    """The page of a chart.

    Attributes:
        chart: what is on it.
        height: of the page.
        plot_bottom: lower edge of the first panel.
        layers_zero: height at which the second panel's pixels start.
    """

    chart: Chart
    height: float
    plot_bottom: float
    layers_zero: float

    @classmethod
    def of(cls, chart: Chart) -> Page:
        """Lay out the page from the bottom up."""
        zero = BELOW_LAYERS - chart.layers.bottom
        plot_bottom = zero + chart.layers.top + ABOVE_LAYERS + BELOW_PLOT
        return cls(chart, plot_bottom + PLOT_HEIGHT + ABOVE_PLOT, plot_bottom, zero)

    @property
    def lines(self) -> Iterator[Line]:
        """Every text outside the panels."""
        chart, top, middle = self.chart, self.height, LEFT + (WIDTH - LEFT) / 2
        layers_top = self.layers_zero + chart.layers.top
        base = chart.trade_off.axis.base_parameters
        share = f" (and percent of the base model's {params_text(base)})" if base > 0 else ""
        yield Line(chart.title, LEFT, top - 44, TITLE, bold=True)
        yield Line(chart.subtitle, LEFT, top - 90, HEADING, MUTED)
        yield Line(
            f"trainable parameters without the task head{share}", middle, self.plot_bottom - 92, BODY, centred=True
        )
        yield Line("Modules of each front architecture, layer by layer", LEFT, layers_top + 68, HEADING, bold=True)
        yield Line(self._how_to_read, LEFT, layers_top + 30, SMALL, MUTED)
        yield Line(chart.note, LEFT, 26, SMALL, MUTED)

    @property
    def _how_to_read(self) -> str:
        if not self.chart.layers.legend:
            return "none of them has a module: only the task head is trained"
        sites = "a type's sites in one layer stand side by side"
        return f"bars stand on their layer; height: size on a log scale; hatched: a module without a size; {sites}"

    @property
    def key(self) -> Iterator[KeyEntry]:
        """What the first panel's marks mean, in one line over it."""
        trade_off = self.chart.trade_off
        searched, hand_made = (any(m.row.baseline is flag for m in trade_off.front) for flag in (False, True))
        kinds: list[tuple[MarkKind, str, bool]] = [
            ("front", "on the front, numbered as below", searched),
            ("front baseline", "baseline on the front", hand_made),
            ("baseline", "baseline", bool(trade_off.baselines)),
            ("other", _others_text(trade_off), bool(trade_off.others)),
        ]
        x = float(LEFT)
        for kind, text, used in kinds:
            if used:
                yield KeyEntry(kind, text, x + 14, self.height - 136)
                x += 34 + text_size(text, SMALL)[0] + 40


def _others_text(trade_off: TradeOff) -> str:
    proxies = sum(not mark.row.confirmed for mark in trade_off.others)
    evidence = f", {proxies} at their proxy scores" if any(mark.row.confirmed for mark in trade_off.front) else ""
    return f"dominated searched trials ({len(trade_off.others)}{evidence if proxies else ''})"
