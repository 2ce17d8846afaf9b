"""Our plots for Optuna's dashboard, which gives each half of a window's width: so they have no size of their own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import plotly.graph_objects as go

from autopeft.answer import Answer, Row

FRONT, BASELINE, OTHER = "#0b5cad", "#d55e00", "#8a94a3"


def front_figure(answer: Answer) -> go.Figure:
    """Return the front beside the baselines and the other trials; the name of each is shown on hover."""
    figure = go.Figure()
    on_front = {row.trial for row in answer.front}
    baselines = [row for row in answer.baselines if row.trial not in on_front]
    _add(figure, answer.others, "other trials", {"symbol": "x", "size": 6, "color": OTHER})
    _add(figure, baselines, "baselines", {"symbol": "diamond-open", "size": 10, "color": BASELINE})
    xs, ys = _steps(answer.front)
    line = {"color": FRONT, "width": 2}
    figure.add_scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    searched = [row for row in answer.front if not row.baseline]
    hand_made = [row for row in answer.front if row.baseline]
    _add(figure, searched, "front", {"symbol": "circle", "size": 10, "color": FRONT})
    _add(figure, hand_made, "baselines on the front", {"symbol": "diamond", "size": 10, "color": BASELINE})
    _lay_out(figure, f"{answer.name}: {answer.metric} against size", "1 + trainable parameters", answer.metric)
    figure.update_xaxes(type="log")
    return figure


def history_figure(points: Sequence[tuple[float, float]], name: str) -> go.Figure:
    """Return the hypervolume over the time of work.

    Args:
        points: seconds of work, and the hypervolume reached by then.
        name: of the search.
    """
    seconds, reached = zip(*points, strict=True)
    figure = go.Figure()
    figure.add_scatter(x=seconds, y=reached, mode="lines", line={"shape": "hv", "width": 2, "color": FRONT})
    _lay_out(figure, f"{name}: hypervolume while searching", "seconds of work", "hypervolume")
    return figure


def _add(figure: go.Figure, rows: Sequence[Row], name: str, marker: dict[str, object]) -> None:
    if not rows:
        return
    figure.add_scatter(
        x=[1 + row.params for row in rows],
        y=[row.score for row in rows],
        error_y={"array": [row.score_std or 0.0 for row in rows], "thickness": 1, "width": 3},
        text=[f"{escape(row.name)}<br>trial {row.trial}, {row.params:,} parameters" for row in rows],
        hovertemplate="%{text}<br>%{y:.4f}<extra></extra>",
        mode="markers",
        marker=marker,
        name=name,
    )


def _steps(front: Sequence[Row]) -> tuple[list[int], list[float]]:
    """Return the corners of the best score that each number of parameters reaches."""
    xs, ys = [1 + front[0].params], [front[0].score]
    for before, after in pairwise(front):
        xs += [1 + after.params, 1 + after.params]
        ys += [before.score, after.score]
    return xs, ys


def _lay_out(figure: go.Figure, title: str, across: str, up: str) -> None:
    figure.update_layout(
        title={"text": escape(title)},
        xaxis={"title": {"text": across}},
        yaxis={"title": {"text": escape(up)}},
        legend={"orientation": "h", "y": -0.25},
        plot_bgcolor="white",
    )
    figure.update_xaxes(gridcolor="#e6e9ef", linecolor="#8791a0")
    figure.update_yaxes(gridcolor="#e6e9ef", linecolor="#8791a0", zeroline=False)
