"""The picture of samplers.py: the share of the best hypervolume against evaluations, and against full trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from autopeft.plots.palette import GRID, INK, MUTED

# Okabe and Ito's colours; what is our own is drawn in full, Optuna's as it comes in dots.
COLOURS = (
    "#0072b2",
    "#009e73",
    "#e69f00",
    "#cc79a7",
    "#8a8f98",
    "#d55e00",
    "#56b4e9",
    "#c8b900",
    "#882255",
    "#332288",
)
LOWEST = 0.6
POINTS = 200

# After each evaluation of a search: the trainings spent, and the share of the best hypervolume.
Curve = tuple[Sequence[float], Sequence[float]]


def draw(curves: Mapping[str, Sequence[Curve]], goal: float, title: str, path: Path) -> None:
    """Draw the median over searches, and where half of them are, for every name.

    Args:
        curves: of every name the searches' curves.
        goal: share that is marked.
        title: of the picture.
        path: of the PNG file.
    """
    figure = Figure(figsize=(12, 5), dpi=150, facecolor="white", layout="constrained")
    figure.suptitle(title, color=INK, x=0.01, ha="left")
    by_evaluation, by_training = figure.subplots(1, 2, sharey=True)
    for (name, searches), colour in zip(curves.items(), COLOURS, strict=False):
        style = ":" if name.startswith("optuna") else "-"
        for axes, spent in ((by_evaluation, False), (by_training, True)):
            x, low, middle, high = _quartiles(searches, spent)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, middle, style, color=colour, label=name)
    _dress(by_evaluation, "evaluations", goal)
    _dress(by_training, "training steps, in full trainings", goal)
    by_evaluation.set_ylabel("share of the best hypervolume", color=INK)
    figure.legend(*by_evaluation.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _quartiles(searches: Sequence[Curve], spent: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return places on the axis, and the searches' quartiles there."""
    axes = [np.asarray(steps) if spent else np.arange(1.0, len(shares) + 1) for steps, shares in searches]
    x = np.geomspace(1.0, min(axis[-1] for axis in axes), POINTS)
    reached = []
    for axis, (_, shares) in zip(axes, searches, strict=True):
        so_far = np.searchsorted(axis, x, side="right")
        reached.append(np.concatenate([[0.0], shares])[so_far])
    low, middle, high = np.quantile(reached, (0.25, 0.5, 0.75), axis=0)
    return x, low, middle, high


def _dress(axes: Axes, label: str, goal: float) -> None:
    axes.axhline(goal, color=MUTED, linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_ylim(LOWEST, 1.0)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(label, color=INK)
    axes.grid(color=GRID)
    axes.tick_params(colors=MUTED)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
