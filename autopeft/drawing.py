"""Architectures drawn as layers by modules in plain text, with the size in each cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from autopeft.architecture import Architecture
from autopeft.geometry import ModelGeometry

PRESENT, ABSENT = "■", "·"  # of a module without a size, and of one that is not there
_SHORT = {"query": "q", "key": "k", "value": "v", "output": "o", "hidden": "hid", "final": "fin"}


@dataclass(frozen=True)
class Picture:
    """Drawings of several architectures that name the sites alike.

    Attributes:
        drawings: lines of each.
        legend: what short names of sites stand for; empty where there was room for the names themselves.
    """

    drawings: tuple[list[str], ...]
    legend: str


@dataclass(frozen=True)
class _Column:
    module: str
    site: str
    cells: tuple[str, ...]


def draw(architectures: Sequence[Architecture], geometry: ModelGeometry, width: int) -> Picture:
    """Draw architectures of one model in lines of at most ``width`` characters, equal layers in one row."""
    grids = [_grid(architecture, geometry) for architecture in architectures]
    whole = tuple(_lines(labels, columns, str) for labels, columns in grids)
    if _fits([line for lines in whole for line in lines], width):
        return Picture(whole, "")
    drawings = tuple(_pages(labels, columns, width) for labels, columns in grids)
    used = {column.site for _, columns in grids for column in columns}
    sites = [site for site in geometry.site_names if site in used and _short(site) != site]
    return Picture(drawings, ", ".join(f"{_short(site)}={site}" for site in sites))


def _grid(architecture: Architecture, geometry: ModelGeometry) -> tuple[tuple[str, ...], list[_Column]]:
    """Return the names of the rows, and the columns."""
    sizes = {(p.module, p.site, p.layer): str(p.size or PRESENT) for p in architecture.placements}
    order = geometry.site_names.index
    places = sorted(
        {(p.module, p.site) for p in architecture.placements}, key=lambda place: (place[0], order(place[1]))
    )

    def cells(layer: int) -> tuple[str, ...]:
        # A place that the layer does not have stays empty.
        return tuple(sizes.get((*place, layer), ABSENT) if geometry.find(place[1], layer) else "" for place in places)

    rows = [(_span(run), alike) for alike, run in groupby(range(geometry.layers), key=cells)]
    labels, contents = zip(*rows, strict=True)
    columns = zip(*contents, strict=True)
    return labels, [_Column(*place, cells) for place, cells in zip(places, columns, strict=True)]


def _span(run: Iterable[int]) -> str:
    layers = list(run)
    return f"{layers[0]}" if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"


def _lines(labels: Sequence[str], columns: Iterable[_Column], name: Callable[[str], str]) -> list[str]:
    parts = [_block("", [("layer", *labels)])]
    for module, run in groupby(columns, key=lambda column: column.module):
        parts.append(_block(module, [(name(column.site), *column.cells) for column in run]))
    return ["   ".join(cells).rstrip() for cells in zip(*parts, strict=True)]


def _block(heading: str, columns: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    lines = [heading, *("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows)]
    width = max(map(len, lines))
    return [line.ljust(width) for line in lines]


def _pages(labels: Sequence[str], columns: Sequence[_Column], width: int) -> list[str]:
    """Return the lines with short names of sites; columns for which there is no room follow below the others."""
    pages: list[list[_Column]] = [[]]
    for column in columns:
        if pages[-1] and not _fits(_lines(labels, [*pages[-1], column], _short), width):
            pages.append([])
        pages[-1].append(column)
    return [line for page in pages for line in ("", *_lines(labels, page, _short))][1:]


def _fits(lines: Iterable[str], width: int) -> bool:
    return all(len(line) <= width for line in lines)


def _short(site: str) -> str:
    """Return a site's name in few letters: ``q`` for ``attention.query``, ``n.ffn`` for ``norm.ffn``."""
    first, _, last = site.partition(".")
    cross = "x" * first.startswith("cross_")
    if first == "norm":
        return f"n.{_short(last)}"
    return (
        cross + _SHORT.get(last, last)
        if last
        else site.replace("cross_attention", "xattn").replace("attention", "attn")
    )
