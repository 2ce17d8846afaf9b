"""Plots of a search's answer: one file a format, found by name. See :mod:`autopeft.plots.base` for the contract.

The evidence of a search (:mod:`autopeft.evidence`) is drawn as PNG alone.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from autopeft import registry
from autopeft.answer import Answer
from autopeft.errors import InvalidInput, Problem
from autopeft.evidence import Evidence
from autopeft.plots.base import PlotFormat
from autopeft.plots.chart import make_chart
from autopeft.plots.gate_map import make_gate_map
from autopeft.plots.png_evidence import render_gate_map, render_stage
from autopeft.plots.stage_chart import make_stage_chart
from autopeft.storage import write_atomically

__all__ = ["PLOT_FORMATS", "PlotFormat", "plot_evidence", "plot_front"]

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


def plot_evidence(evidence: Evidence, folder: Path) -> list[Path]:
    """Write a picture of every structure and stage to a folder, which is created, and return the files.

    Raises:
        InvalidInput: the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(Problem("out", str(folder), "a file; name a folder"))
    paths = []
    for name, picture in _pictures(evidence):
        paths.append(folder / name)
        write_atomically(paths[-1], picture)
    return paths


def _pictures(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each file and its content."""
    for structure in evidence.structures:
        yield f"gates-{structure.budget}.png", render_gate_map(make_gate_map(structure, evidence.name))
    for number, stage in enumerate(evidence.stages, 1):
        chart = make_stage_chart(stage, f"{evidence.name}, stage {number}", evidence.metric)
        yield f"stage-{number}-{re.sub('[^a-z0-9]+', '-', stage.stage)}.png", render_stage(chart)
