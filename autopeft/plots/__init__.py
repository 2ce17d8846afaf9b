"""Plots of a search's answer: one file a format, found by name. See :mod:`autopeft.plots.base` for the contract."""

from pathlib import Path

from autopeft import registry
from autopeft.answer import Answer
from autopeft.errors import InvalidInput, Problem
from autopeft.plots.base import PlotFormat
from autopeft.plots.chart import make_chart
from autopeft.storage import write_atomically

__all__ = ["PLOT_FORMATS", "PlotFormat", "plot_front"]

PLOT_FORMATS: registry.Registry[PlotFormat] = registry.PLOT_FORMATS


def plot_front(answer: Answer, path: Path) -> None:
    """Write a picture of the front; the path's suffix names the format.

    Raises:
        InvalidInput: no format has that suffix, or the path is a folder.
        NoFeasibleArchitecture: the front is empty.
    """
    plot_format = PLOT_FORMATS.get(path.suffix.lower().removeprefix("."))
    if path.is_dir():
        raise InvalidInput(Problem("plot", str(path), "a folder; name a file in it"))
    write_atomically(path, plot_format.render(make_chart(answer)))
