"""An answer that a service tells, as the value that the tables are printed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autopeft.answer import Answer, Row
from autopeft.architecture import Architecture
from autopeft.objectives import further


@dataclass(frozen=True)
class Told(Answer):
    """An answer without the rows that are on no front, so that its areas cannot be computed again.

    Attributes:
        areas: hypervolume, and that of the baselines.
    """

    areas: tuple[float, float] = (0.0, 0.0)

    @property
    def hypervolume(self) -> float:
        """Area that front and baselines dominate."""
        return self.areas[0]

    @property
    def baseline_hypervolume(self) -> float:
        """Area that the baselines alone dominate."""
        return self.areas[1]


def read_answer(document: Mapping[str, Any]) -> Told:
    """Return the answer of the document that a service sends of a search's front."""
    by_hand = {row["trial"] for row in document["baselines"]}
    front = tuple(_row(row, row["trial"] in by_hand) for row in document["front"])
    return Told(
        search=document["search"],
        name=document["name"],
        state=document["state"],
        metric=document["metric"],
        front=front,
        baselines=tuple(_row(row, True) for row in document["baselines"]),
        others=(),
        confirmed=any(row.confirmed for row in front),
        base_parameters=document["base_parameters"],
        objectives=further(document["objectives"]),
        areas=(document["hypervolume"], document["baseline_hypervolume"]),
    )


def _row(document: Mapping[str, Any], by_hand: bool) -> Row:
    told = {key: value for key, value in document.items() if key not in ("fingerprint", "architecture")}
    return Row(**told, architecture=Architecture.from_dict(document["architecture"]), baseline=by_hand, seconds=0.0)
