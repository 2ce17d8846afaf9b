"""From an answer to the chart that every format draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from autopeft.answer import Answer, Row
from autopeft.errors import NoFeasibleArchitecture
from autopeft.plots.base import Chart
from autopeft.plots.labels import text_size
from autopeft.plots.layers import make_layer_panel
from autopeft.plots.sizes import PANEL_WIDTH, TITLE
from autopeft.plots.trade_off import TradeOff, make_trade_off
from autopeft.plots.wording import subtitle

LONGEST_NAME = 80


def make_chart(answer: Answer) -> Chart:
    """Lay out the chart of an answer.

    Raises:
        NoFeasibleArchitecture: the front is empty, so that there is nothing to show.
    """
    answer = replace(
        answer, front=_finite(answer.front), baselines=_finite(answer.baselines), others=_finite(answer.others)
    )
    if not answer.front:
        raise NoFeasibleArchitecture(f"the front of search {answer.name!r} is empty: there is nothing to plot yet")
    trade_off = make_trade_off(answer)
    return Chart(
        title=make_title(" ".join(answer.name.split()), f": {answer.metric} against trainable parameters"),
        subtitle=subtitle(answer),
        trade_off=trade_off,
        layers=make_layer_panel(answer),
        note=_note(answer, trade_off),
    )


def _finite(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(row for row in rows if math.isfinite(row.score))


def make_title(name: str, rest: str) -> str:
    """Return a title, with the end of the name left out where it is too long for one line."""
    shown, mark = name[:LONGEST_NAME], "…" if len(name) > LONGEST_NAME else ""
    while shown and text_size(shown + mark + rest, TITLE, bold=True)[0] > PANEL_WIDTH:
        shown, mark = shown[:-1].rstrip(), "…"
    return shown + mark + rest


def _note(answer: Answer, trade_off: TradeOff) -> str:
    parts = []
    if any(row.score_std is not None for row in (*answer.front, *answer.baselines)):
        parts.append("error bars: one standard deviation over seeds, to either side")
    if trade_off.hidden:
        trials = "1 searched trial lies" if trade_off.hidden == 1 else f"{trade_off.hidden} searched trials lie"
        parts.append(f"{trials} below the view")
    return "  ·  ".join(parts)
