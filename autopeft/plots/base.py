"""The contract of a plot format, and the chart that every format draws.

A chart is laid out once, in the pixels of :mod:`autopeft.plots.sizes`, with its origin at the bottom left of each
panel; a format draws it and decides nothing about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autopeft.plots.layers import LayerPanel
from autopeft.plots.trade_off import TradeOff


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn.

    Attributes:
        title: search and metric.
        subtitle: what the scores are.
        trade_off: trainable parameters against score.
        layers: which modules each front architecture has in which layer.
        note: small print under it all.
    """

    title: str
    subtitle: str
    trade_off: TradeOff
    layers: LayerPanel
    note: str


@dataclass(frozen=True)
class PlotFormat:
    """One kind of picture.

    Attributes:
        summary: one line for people.
        render: turns a chart into the file's content.
    """

    summary: str
    render: Callable[[Chart], bytes]
