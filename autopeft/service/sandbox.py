"""What needs torch, or reads what a stranger sent: done in a process of its own, one step after another.

The service asks for a step by its name, over a pipe, and gets a :class:`Outcome`. Nothing here is imported by the
service itself before it has started that process.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from autopeft.answer import Answer
from autopeft.architecture import Architecture
from autopeft.errors import AutopeftError, InvalidInput, LossyExport, NoFeasibleArchitecture, Problem
from autopeft.messages import SearchSpec
from autopeft.recipe import Recipe

DRAWING_WIDTH = 100
HEAD_ROWS = 10_000


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        kind: ``value``; ``invalid`` (the value is a tuple of problems); ``infeasible`` and ``failed`` (a text);
            ``fault`` (a traceback).
    """

    kind: Literal["value", "invalid", "infeasible", "failed", "fault"]
    value: Any


@dataclass(frozen=True)
class Checked:
    """A request that can be carried out.

    Attributes:
        facts: found out on the way, to be stored with the search.
        warm_start: what it takes from earlier searches.
        cardinality: points of its space; None where there is no end of them.
        smallest: parameters of the smallest architecture in its space.
    """

    spec: SearchSpec
    facts: dict[str, Any]
    warm_start: str
    cardinality: int | None
    smallest: int

    def named(self, name: str | None) -> Checked:
        """Return the same request with a name."""
        return replace(self, spec=self.spec.model_copy(update={"name": name}))


@dataclass(frozen=True)
class Export:
    """A recipe in a format.

    Attributes:
        reasons: what the format cannot hold, where it is not written for that.
        files: contents by name.
    """

    reasons: tuple[str, ...]
    files: dict[str, bytes]


def serve(connection: Connection, folder: Path) -> None:
    """Carry out steps until the other end is closed, in a folder that is empty: no name is a path by accident."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service ends this process itself
    os.chdir(folder)
    while True:
        try:
            step, arguments = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_carry_out(step, arguments))


def _carry_out(step: str, arguments: tuple[Any, ...]) -> Outcome:
    try:
        return Outcome("value", STEPS[step](*arguments))
    except InvalidInput as error:
        return Outcome("invalid", error.problems)
    except NoFeasibleArchitecture as error:
        return Outcome("infeasible", str(error))
    except AutopeftError as error:
        return Outcome("failed", str(error))
    except Exception:
        return Outcome("fault", traceback.format_exc())


def check(document: dict[str, Any], known: Sequence[Problem]) -> Checked:
    """Check a request without its name, as :func:`autopeft.submission.submit_options` does."""
    from autopeft.base_models import BUNDLED  # noqa: PLC0415 - torch
    from autopeft.space import smallest  # noqa: PLC0415
    from autopeft.submission import submit_options  # noqa: PLC0415

    model = document.get("model")
    if isinstance(model, str) and "/" not in model and model not in BUNDLED:
        known = [*known, Problem.unknown("model", model, [*BUNDLED, "ORGANISATION/NAME of the hub"])]
        document = {key: value for key, value in document.items() if key != "model"}
    plan, facts = submit_options(document, known)
    points = plan.space.cardinality
    cardinality = int(points) if points < float("inf") else None
    return Checked(plan.spec, facts, plan.warm_start, cardinality, smallest(plan.space))


def head(path: Path, encoding: str) -> None:
    """Check that the first rows of a file make a table."""
    from autopeft.tasks.formats import read_parts  # noqa: PLC0415 - pandas

    for table in read_parts(path, encoding, HEAD_ROWS):
        for name in table.names:
            table.read(name)
        return


def options() -> dict[str, Any]:
    """Return what may be asked for, as JSON values."""
    from autopeft.base_models import BUNDLED, describe_model  # noqa: PLC0415 - torch
    from autopeft.exporters import EXPORTERS  # noqa: PLC0415
    from autopeft.policies import POLICIES  # noqa: PLC0415
    from autopeft.samplers import SAMPLERS  # noqa: PLC0415
    from autopeft.space import load_document, preset_names, space_names  # noqa: PLC0415
    from autopeft.tasks import TASK_SOURCES  # noqa: PLC0415
    from autopeft.tasks.metrics import METRICS  # noqa: PLC0415

    spaces = [*space_names(), *(f"preset:{name}" for name in preset_names())]
    tasks = [(one.example, one.summary) for name, one in TASK_SOURCES.all().items() if name != "file"]
    tasks.append(("upload:ID", "a CSV, TSV, JSONL or Parquet file that was uploaded"))
    return {
        "models": [
            *_listed((name, f"{describe_model(name).parameters:,} parameters, bundled") for name in BUNDLED),
            {"name": "ORGANISATION/NAME[@REVISION]", "summary": "a model of the Hugging Face hub"},
        ],
        "tasks": _listed(tasks),
        "spaces": _listed((name, load_document(name).summary) for name in spaces),
        "samplers": _listed((name, one.summary) for name, one in SAMPLERS.all().items()),
        "policies": _listed((name, one.summary) for name, one in POLICIES.all().items()),
        "metrics": list(METRICS),
        "formats": _listed((name, one.summary) for name, one in EXPORTERS.all().items()),
        "defaults": SearchSpec().model_dump(mode="json"),
    }


def _listed(found: Any) -> list[dict[str, str]]:
    return [{"name": name, "summary": summary} for name, summary in found]


def drawing(model: str, architecture: Architecture) -> str:
    """Return an architecture as layers by modules, in plain text."""
    from autopeft.base_models import describe_model  # noqa: PLC0415 - torch
    from autopeft.drawing import draw  # noqa: PLC0415

    picture = draw([architecture], describe_model(model).geometry, DRAWING_WIDTH)
    return "\n".join([*picture.drawings[0], *([picture.legend] if picture.legend else [])])


def fits(recipe: Recipe, weights: Path | None) -> list[dict[str, Any]]:
    """Return how a recipe fits into every format."""
    from autopeft import exporters  # noqa: PLC0415 - torch

    summaries = {name: one.summary for name, one in exporters.EXPORTERS.all().items()}
    found = exporters.fits(recipe, weights)
    return [
        {
            "name": name,
            "summary": summaries[name],
            "losses": list(fit.reasons),
            "lossless": not fit.reasons,
            "writable": not fit.obstacles,
        }
        for name, fit in found.items()
    ]


def export(recipe: Recipe, format_name: str, weights: Path | None, allow_lossy: bool) -> Export:
    """Return a recipe in a format, or why it is not written."""
    from autopeft import exporters  # noqa: PLC0415 - torch

    try:
        return Export((), exporters.render(recipe, format_name, weights, allow_lossy))
    except LossyExport as error:
        return Export(error.losses, {})


def plot(answer: Answer, format_name: str) -> bytes:
    """Return a picture of a front."""
    from autopeft.plots import PLOT_FORMATS  # noqa: PLC0415 - matplotlib
    from autopeft.plots.chart import make_chart  # noqa: PLC0415

    return PLOT_FORMATS.get(format_name).render(make_chart(answer))


STEPS: dict[str, Callable[..., Any]] = {
    step.__name__: step for step in (check, head, options, drawing, fits, export, plot)
}
