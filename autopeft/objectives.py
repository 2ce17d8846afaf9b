"""What a search can minimise, or cap, beside the trainable parameters: measured on a run, or known from them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TrialReport

# The two that every search has, in this order.
PARAMS, SCORE = "params", "score"
# Trained modules are stored in float32.
BYTES_PER_PARAMETER = 4
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Objective:
    """One quantity, less of which is better.

    Attributes:
        summary: one line for people.
        units: what people may give a cap in, with the factor to the quantity's own unit.
        measure: reads it off a complete run.
        example: of a cap.
    """

    summary: str
    units: Mapping[str, float]
    measure: Callable[[TrialReport], float]
    example: str

    def text(self, value: float) -> str:
        """Return a value with three significant digits and its unit."""
        shown = ("GB", "MB", "kB", "B") if self.units is _BYTES else ("s", "ms")
        unit = next((unit for unit in shown if abs(value) >= self.units[unit]), shown[-1])
        return f"{value / self.units[unit]:.3g} {unit}"


OBJECTIVES: dict[str, Objective] = {
    "memory": Objective(
        "peak memory of the training run: of the GPU if there is one, else of the worker's process",
        _BYTES,
        lambda report: float(report.peak_memory),
        "8GB",
    ),
    "latency": Objective(
        "time that the trained model takes for one batch of 32 held-out rows, median of several",
        _SECONDS,
        lambda report: report.latency,
        "20ms",
    ),
    "train_time": Objective(
        "time of the training run's steps and evaluations", _SECONDS, lambda report: report.busy_seconds, "90s"
    ),
    "bytes": Objective(
        "size of the trained modules on disk, without the task head",
        _BYTES,
        lambda report: float(BYTES_PER_PARAMETER * report.params),
        "500kB",
    ),
}


def further(objectives: Iterable[str]) -> tuple[str, ...]:
    """Return the objectives beside parameters and score.

    Raises:
        InvalidInput: one is unknown, named twice, or the first two are not parameters and score.
    """
    names = tuple(objectives)
    if names[:2] != (PARAMS, SCORE):
        remedy = f"begin with {PARAMS},{SCORE}; others come after them"
        raise InvalidInput(Problem("objectives", ",".join(names), remedy))
    problems = [Problem.unknown("objectives", name, OBJECTIVES) for name in names[2:] if name not in OBJECTIVES]
    if len(set(names)) < len(names):
        problems.append(Problem("objectives", ",".join(names), "names one twice"))
    if problems:
        raise InvalidInput(*problems)
    return names[2:]


def parse_caps(caps: Mapping[str, str]) -> dict[str, float]:
    """Return the caps in the quantities' own units, bytes and seconds.

    Raises:
        InvalidInput: a quantity is unknown, or its cap is not an amount of it above 0; every problem is listed.
    """
    found, problems = {}, []
    for name, text in caps.items():
        if name not in OBJECTIVES:
            problems.append(Problem.unknown("cap", name, OBJECTIVES))
            continue
        units, example = OBJECTIVES[name].units, OBJECTIVES[name].example
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
        value = float(match[1]) * units.get(match[2], math.nan) if match else math.nan
        if 0 < value < math.inf:
            found[name] = value
        else:
            problems.append(Problem(f"cap {name}", text, f"give an amount in {', '.join(units)}, as {example}"))
    if problems:
        raise InvalidInput(*problems)
    return found


def measures(report: TrialReport, names: Iterable[str]) -> dict[str, float]:
    """Return what a complete run came to in these quantities."""
    return {name: OBJECTIVES[name].measure(report) for name in names}
