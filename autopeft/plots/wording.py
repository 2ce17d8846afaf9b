"""Numbers and architectures as text for people."""

from __future__ import annotations

from itertools import groupby

from autopeft.answer import Answer, Row
from autopeft.architecture import Architecture
from autopeft.objectives import OBJECTIVES
from autopeft.plots.palette import module_name

MOST_LINES = 30


def params_text(params: int) -> str:
    """Return a count with three significant digits, as ``31.4k``."""
    rounded = float(f"{params:.3g}")
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if rounded >= scale:
            return f"{rounded / scale:.3g}{unit}"
    return str(params)


def percent_text(percent: float) -> str:
    """Return a share with two significant digits and no exponent, as ``0.044%``."""
    if abs(percent) >= 10:
        return f"{percent:.0f}%"
    digits = f"{float(f'{percent:.2g}'):.10f}".rstrip("0").rstrip(".")
    return f"{digits}%"


def score_text(score: float) -> str:
    """Return a score with three decimals, or four significant digits where it is large."""
    return f"{score:.3f}" if abs(score) < 10 else f"{score:.4g}"


def evidence_text(row: Row) -> str:
    """Return a row's score, spread and seeds in one line."""
    spread = "" if row.score_std is None else f" ± {score_text(row.score_std)}"
    runs = "1 seed" if row.seeds == 1 else f"{row.seeds} seeds"
    return f"{score_text(row.score)}{spread} ({runs}, {'confirmed' if row.confirmed else 'proxy'})"


def measures_text(row: Row) -> list[str]:
    """Return what a row came to in each of the further objectives."""
    return [OBJECTIVES[name].text(value) for name, value in row.measures.items()]


def subtitle(answer: Answer) -> str:
    """Return what the scores are, what else is minimised, and whether the search is still under way."""
    scores = _confirmation(answer) if answer.confirmed else "proxy scores, not confirmed"
    if answer.objectives:
        scores += f"  ·  labels: {', '.join(answer.objectives)}, minimised too"
    return scores if answer.state == "done" else f"{scores}  ·  search {answer.state}"


def _confirmation(answer: Answer) -> str:
    seeds = sorted({row.seeds for row in (*answer.front, *answer.baselines)})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"confirmed over {count} seed{'' if seeds[-1] == 1 else 's'} on validation"


def architecture_text(architecture: Architecture) -> list[str]:
    """Return the architecture drawn in monospaced lines: layers from the top down, one column a module type."""
    drawn = _grid(architecture) if architecture.placements else ["head only: no modules"]
    more = len(drawn) - MOST_LINES
    lines = drawn if more <= 0 else [*drawn[:MOST_LINES], f"... and {more} more lines"]
    lines += [f"{name}: {value}" for name, value in architecture.training]
    return lines if architecture.quantisation == "none" else [*lines, f"base model: {architecture.quantisation}"]


def _grid(architecture: Architecture) -> list[str]:
    rows = [("layer", *map(module_name, architecture.module_types))]
    rows += [(layers, *cells) for layers, cells in _alike_layers(architecture)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _alike_layers(architecture: Architecture) -> list[tuple[str, tuple[str, ...]]]:
    def cells(layer: int) -> tuple[str, ...]:
        return tuple(_cell(architecture, layer, module) for module in architecture.module_types)

    found = []
    for alike, run in groupby(range(architecture.layers[-1], -1, -1), key=cells):
        layers = list(run)
        span = f"{layers[0]}" if len(layers) == 1 else f"{layers[-1]}-{layers[0]}"
        found.append((span, alike))
    return found


def _cell(architecture: Architecture, layer: int, module: str) -> str:
    """Return the sites of a module type in a layer by their sizes, as ``8 attention.query, attention.value``."""
    mine = [p for p in architecture.placements if p.layer == layer and p.module == module]
    by_size: dict[int, list[str]] = {}
    for placement in mine:
        by_size.setdefault(placement.size, []).append(placement.site)
    parts = [f"{size} {', '.join(sites)}" if size else ", ".join(sites) for size, sites in sorted(by_size.items())]
    return "; ".join(parts) or "-"
