"""What a model of scores sees of an architecture: numbers that mean the same in every space.

They say which module types are there, how large they are and how deep they lie, how the parameters are shared out over
layers and sites, and what they are trained with. Two points of different spaces that decode to one architecture have
the same features, so that trials of one space teach about another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from autopeft.architecture import Architecture, Scalar
from autopeft.geometry import ModelGeometry
from autopeft.messages import EPOCHS, TrainingSettings
from autopeft.modules.base import Options
from autopeft.modules.plan import full_options, price
from autopeft.registry import MODULE_TYPES

# Trainable parameters of the largest architectures are about ten to this power; it brings logarithms to 0..1.
LARGEST = 8.0
# Options beyond this are as good as this.
MOST = 1e9


class Features:
    """The features of architectures on one model.

    Attributes:
        names: one for each feature, in their order.
    """

    def __init__(self, geometry: ModelGeometry) -> None:
        self._geometry = geometry
        layers = [f"layer {layer}" for layer in range(geometry.layers)]
        modules = [
            f"{name} {what}"
            for name, module_type in MODULE_TYPES.all().items()
            for what in ("on", "size", "depth", *_numeric(module_type.options))
        ]
        training = [name.replace("_", " ") for name in (*TrainingSettings.model_fields, EPOCHS)]
        self.names = ["params", "layers", *layers, *geometry.site_names, *modules, *training, "stored"]

    def of(self, architecture: Architecture) -> list[float]:
        """Return the features, each about 0 to 1; 0 for what is not there."""
        found = dict(self._shares(architecture))
        found |= dict(self._modules(architecture))
        found |= dict(_training(architecture))
        return [found.get(name, 0.0) for name in self.names]

    def _shares(self, architecture: Architecture) -> Iterator[tuple[str, float]]:
        by_layer: dict[int, int] = defaultdict(int)
        by_site: dict[str, int] = defaultdict(int)
        for placement in architecture.placements:
            params = price(placement, self._geometry)
            by_layer[placement.layer] += params
            by_site[placement.site] += params
        yield "params", _logarithm(sum(by_layer.values()))
        yield "layers", len(by_layer) / self._geometry.layers
        yield from ((f"layer {layer}", _logarithm(params)) for layer, params in by_layer.items())
        yield from ((site, _logarithm(params)) for site, params in by_site.items())

    def _modules(self, architecture: Architecture) -> Iterator[tuple[str, float]]:
        for name in architecture.module_types:
            mine = [placement for placement in architecture.placements if placement.module == name]
            yield f"{name} on", 1.0
            yield f"{name} size", math.log2(1 + sum(p.size for p in mine) / len(mine)) / 10
            yield f"{name} depth", (sum(p.layer for p in mine) / len(mine) + 0.5) / self._geometry.layers
            options = [full_options(placement) for placement in mine]
            for option in _numeric(MODULE_TYPES.get(name).options):
                mean = sum(_within_reason(one[option]) for one in options) / len(mine)
                yield f"{name} {option}", math.copysign(math.log2(1 + abs(mean)), mean) / 10


def _numeric(options: Options) -> list[str]:
    return [option for option, default in options.items() if not isinstance(default, str)]


def _within_reason(value: Scalar) -> float:
    return float(min(max(value, -MOST), MOST))


def _training(architecture: Architecture) -> Iterator[tuple[str, float]]:
    for name, value in architecture.training:
        yield name.replace("_", " "), 1 + math.log10(float(value)) / LARGEST if float(value) > 0 else 0.0
    yield "stored", {"none": 0.0, "int8": 0.5, "nf4": 1.0}[architecture.quantisation]


def _logarithm(params: int) -> float:
    return math.log10(1 + params) / LARGEST
