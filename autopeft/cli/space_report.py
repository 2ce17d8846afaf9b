"""What there is to know of a search space on a model."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from autopeft.architecture import Architecture
from autopeft.base_models import describe_model
from autopeft.baselines import preset
from autopeft.errors import InvalidInput, NoFeasibleArchitecture
from autopeft.space import Point, SearchSpace, find, largest, load_document, load_space, preset_names, smallest
from autopeft.space.load import PRESET

# Above this many, points are not counted by decoding them all, and presets are not looked for.
MOST_POINTS, MOST_DIMENSIONS = 20_000, 60


@dataclass(frozen=True)
class Sample:
    """A point drawn from a space, with its architecture and that one's trainable parameters."""

    point: Point
    architecture: Architecture
    params: int
    params_percent: float

    def to_dict(self) -> dict[str, Any]:
        """Return the sample as JSON values."""
        return {
            "fingerprint": self.architecture.fingerprint,
            "params": self.params,
            "params_percent": self.params_percent,
            "summary": self.architecture.summary(),
            "point": dict(self.point),
            "architecture": self.architecture.to_dict(),
        }


@dataclass(frozen=True)
class Extent:
    """How large a space is.

    Attributes:
        points: invalid ones included; infinite where a dimension is a range of real numbers.
        architectures: different valid ones; None where the points are too many to try them all.
        least, most: trainable parameters of the smallest and the largest architecture found.
    """

    points: float
    architectures: int | None
    least: int
    most: int


def bind(name: str, model: str) -> SearchSpace:
    """Read a space by its name or path, and bind it to a model by its name.

    Raises:
        InvalidInput: there is no such space or model, the space has mistakes, or the model has no place for it.
    """
    load_document(name)  # its own mistakes are told before the model is read, which takes longer
    base = describe_model(model)
    return load_space(name, base.geometry, base.parameters)


def percent(space: SearchSpace, params: int) -> float:
    """Return parameters as a percentage of the base model."""
    assert space.base_parameters is not None, "bind gives them"
    return round(100 * params / space.base_parameters, 4)


def measure(space: SearchSpace) -> Extent:
    """Return how large a space is.

    Raises:
        NoFeasibleArchitecture: no draw of many is valid.
    """
    return Extent(space.cardinality, _architectures(space), smallest(space), largest(space))


def draw_samples(space: SearchSpace, number: int, seed: int) -> list[Sample]:
    """Draw valid points uniformly; the same ones every time for a seed.

    Raises:
        NoFeasibleArchitecture: no draw of many is valid.
    """
    rng = random.Random(seed)
    drawn = [space.sample(rng) for _ in range(number)]
    return [Sample(point, a, space.params(a), percent(space, space.params(a))) for point, a in drawn]


def presets_on(space: SearchSpace) -> dict[Architecture, str]:
    """Return the presets that the space's model has a place for, by what they are on it."""
    found = {}
    for name in preset_names():
        try:
            found[preset(name, space.geometry, space.base_parameters)] = PRESET + name
        except (InvalidInput, NoFeasibleArchitecture):
            continue
    return found


def presets_in(space: SearchSpace) -> list[str] | None:
    """Return the presets that were found to be points of the space, or None where its dimensions are too many."""
    if len(space.dimensions) > MOST_DIMENSIONS:
        return None
    return [name for architecture, name in presets_on(space).items() if find(space, architecture) is not None]


def to_dict(space: SearchSpace, model: str, samples: list[Sample]) -> dict[str, Any]:
    """Return what there is to know as JSON values."""
    extent = measure(space)
    return {
        "name": space.name,
        "summary": space.document.summary,
        "source": space.document.source,
        "model": model,
        "dimensions": [vars(dimension) for dimension in space.dimensions],
        "points": None if math.isinf(extent.points) else extent.points,
        "architectures": extent.architectures,
        "params": {"least": extent.least, "most": extent.most},
        "params_percent": {"least": percent(space, extent.least), "most": percent(space, extent.most)},
        "budget": space.budget,
        "presets": presets_in(space),
        "samples": [sample.to_dict() for sample in samples],
    }


def _architectures(space: SearchSpace) -> int | None:
    if space.cardinality > MOST_POINTS:
        return None
    return len({space.decode(point) for point in space.points()} - {None})
