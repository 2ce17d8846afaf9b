"""A space's dimensions for people: those that differ only in their layer, group or site share a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autopeft.architecture import Scalar
from autopeft.geometry import SITE_NAMES
from autopeft.space import Choice, Dimension, Integers

_SITE = "|".join(map(re.escape, SITE_NAMES))
_NAME = re.compile(rf"(?P<head>.+?)(?:\.(?P<scope>g\d+|\d\d+))?(?:\.(?P<site>{_SITE}))?")


@dataclass(frozen=True)
class FoldedRow:
    """Dimensions that share a row.

    Attributes:
        name: as ``lora.on.00..05 × 6 sites``.
        count: number of dimensions.
        values: what each can be.
    """

    name: str
    count: int
    values: str


def fold(dimensions: Iterable[Dimension]) -> list[FoldedRow]:
    """Return the rows in the order of their first dimensions."""
    # What is alike but for the place, as its sites with the layers or groups of each.
    alike: dict[tuple[str, str, bool], dict[str, list[str]]] = {}
    for dimension in dimensions:
        match = _NAME.fullmatch(dimension.name)
        assert match is not None, "any name is a head at least"
        key = match["head"], _values(dimension), bool(match["scope"] or match["site"])
        alike.setdefault(key, {}).setdefault(match["site"] or "", []).append(match["scope"] or "")
    return [row for (head, values, _), places in alike.items() for row in _rows(head, values, places)]


def _rows(head: str, values: str, places: dict[str, list[str]]) -> Iterator[FoldedRow]:
    sites_by_scopes: dict[tuple[str, ...], list[str]] = {}
    for site, found in places.items():
        sites_by_scopes.setdefault(tuple(found), []).append(site)
    for scopes, sites in sites_by_scopes.items():
        name = ".".join(part for part in (head, _span(scopes)) if part)
        if len(sites) > 1:
            yield FoldedRow(f"{name} × {len(sites)} sites", len(scopes) * len(sites), f"{values}: {', '.join(sites)}")
        else:
            yield FoldedRow(".".join(part for part in (name, *sites) if part), len(scopes), values)


def _span(scopes: Sequence[str]) -> str:
    """Return layers or groups as ``00..05`` or ``g1..g4``; with gaps as ``00..02,04``."""
    runs: list[list[str]] = []
    for scope in scopes:
        if runs and _number(scope) == _number(runs[-1][-1]) + 1:
            runs[-1].append(scope)
        else:
            runs.append([scope])
    return ",".join(run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)


def _number(scope: str) -> int:
    return int(scope.removeprefix("g"))


def _values(dimension: Dimension) -> str:
    if isinstance(dimension, Integers):
        return f"{dimension.low} to {dimension.high}, log scale"
    if not isinstance(dimension, Choice):
        return f"{dimension.low:g} to {dimension.high:g}" + ", log scale" * dimension.log
    choices = dimension.choices
    if choices == (False, True) and isinstance(choices[0], bool):
        return "off/on"
    if len(choices) > 4 and choices == tuple(range(len(choices))):
        return f"0 to {len(choices) - 1}"
    return ", ".join(_value(dimension.name, choice) for choice in choices)


def _value(name: str, value: Scalar) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    # A size of nothing leaves the module out.
    is_off = value == 0 and re.search(r"\.size\b", name)
    return "off" if is_off else f"{value:g}" if isinstance(value, float) else str(value)
