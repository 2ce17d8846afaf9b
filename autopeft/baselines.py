"""Hand-made configurations that people pick by habit; they are the first trials of every search."""

from __future__ import annotations

import random

from autopeft.architecture import Architecture
from autopeft.errors import InvalidInput
from autopeft.geometry import ModelGeometry
from autopeft.space import SearchSpace, load_space
from autopeft.space.load import PRESET

HEAD_ONLY = "head only"
# Cheapest idea first. The rest of search_spaces/presets is there for who asks for it.
BASELINES = ("ia3", "bitfit", "prefix", "lora", "pfeiffer", "unipelt", "mam")


def baselines(geometry: ModelGeometry) -> dict[str, Architecture]:
    """Return the baselines by title, cheapest idea first; those that the model has no sites for are left out."""
    made = {HEAD_ONLY: Architecture()}
    for name in BASELINES:
        try:
            space = load_space(PRESET + name, geometry)
            made[space.document.title] = _only(space)
        except InvalidInput:  # the model has no place for one of its modules
            continue
    return made


def preset(name: str, geometry: ModelGeometry, base_parameters: int | None = None) -> Architecture:
    """Return a design of ``search_spaces/presets`` on a model.

    Raises:
        InvalidInput: there is no such design, or it does not fit the model.
    """
    return _only(load_space(PRESET + name, geometry, base_parameters))


def _only(space: SearchSpace) -> Architecture:
    """Return the architecture of a space of a single point."""
    return space.sample(random.Random(0))[1]
