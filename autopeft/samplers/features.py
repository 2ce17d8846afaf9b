"""What a model of scores sees of an architecture: numbers that mean the same in every space.

They say which module types are there, how large they are and how deep they lie, how the parameters are shared out over
layers and sites, and what they are trained with. Two points of different spaces that decode to one architecture have
the same features, so that trials of one space teach about another.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from functools import lru_cache

import numpy as np

from autopeft.architecture import Architecture, Placement, Scalar
from autopeft.geometry import ModelGeometry
from autopeft.messages import EPOCHS, TrainingSettings
from autopeft.modules.base import Options
from autopeft.modules.plan import full_options, price
from autopeft.registry import MODULE_TYPES
from autopeft.warp import Floats

# Trainable parameters of the largest architectures are about ten to this power; it brings logarithms to 0..1.
LARGEST = 8.0
# Options beyond this are as good as this.
MOST = 1e9
# Placements that are kept with what they add to an architecture's features.
KEPT = 65_536


class Features:
    """The features of architectures on one model.

    All but a few are of sums over an architecture's placements, to which equal placements add the same.

    Attributes:
        names: one for each feature, in their order.
    """

    def __init__(self, geometry: ModelGeometry) -> None:
        self._geometry = geometry
        layers = [_layer(layer) for layer in range(geometry.layers)]
        types = {
            name: [_of(name, what) for what in ("on", "depth", "size", *_numeric(module_type.options))]
            for name, module_type in MODULE_TYPES.all().items()
        }
        modules = [feature for features in types.values() for feature in features]
        training = [name.replace("_", " ") for name in (*TrainingSettings.model_fields, EPOCHS)]
        self.names = ["params", "layers", *layers, *geometry.site_names, *modules, *training, "stored"]
        self._column = {name: column for column, name in enumerate(self.names)}
        self._amounts = [self._column[name] for name in ("params", *layers, *geometry.site_names)]
        self._types = [[self._column[feature] for feature in features] for features in types.values()]
        self._added = lru_cache(KEPT)(self._add)

    def of(self, architecture: Architecture) -> list[float]:
        """Return the features, each about 0 to 1; 0 for what is not there."""
        row: list[float] = self.of_all([architecture])[0].tolist()
        return row

    def of_all(self, architectures: Collection[Architecture]) -> Floats:
        """Return the features of many, of shape ``(architectures, features)``."""
        x = np.array([self._sums(architecture) for architecture in architectures]).reshape(-1, len(self.names))
        x[:, self._amounts] = np.log10(1 + x[:, self._amounts]) / LARGEST
        for on, depth, *sizes in self._types:
            placements = np.maximum(x[:, on], 1)
            x[:, depth] /= placements * self._geometry.layers
            means = x[:, sizes] / placements[:, None]
            x[:, sizes] = np.copysign(np.log2(1 + np.abs(means)), means) / 10
            x[:, on] = x[:, on] > 0
        return x

    def _sums(self, architecture: Architecture) -> list[float]:
        """Return what the placements add up to, and the features that are not of sums."""
        row = [0.0] * len(self.names)
        for placement in architecture.placements:
            for column, amount in self._added(placement):
                row[column] += amount
        row[self._column["layers"]] = len(architecture.layers) / self._geometry.layers
        for name, value in _training(architecture):
            row[self._column[name]] = value
        return row

    def _add(self, placement: Placement) -> list[tuple[int, float]]:
        params = float(price(placement, self._geometry))
        options = full_options(placement)
        added = dict.fromkeys(("params", _layer(placement.layer), placement.site), params)
        module = {"on": 1.0, "depth": placement.layer + 0.5, "size": float(placement.size)}
        added |= {_of(placement.module, what): amount for what, amount in module.items()}
        for option in _numeric(MODULE_TYPES.get(placement.module).options):
            added[_of(placement.module, option)] = _within_reason(options[option])
        return [(self._column[name], amount) for name, amount in added.items()]


def _layer(layer: int) -> str:
    return f"layer {layer}"


def _of(module: str, what: str) -> str:
    return f"{module} {what}"


def _numeric(options: Options) -> list[str]:
    return [option for option, default in options.items() if not isinstance(default, str)]


def _within_reason(value: Scalar) -> float:
    return float(min(max(value, -MOST), MOST))


def _training(architecture: Architecture) -> Iterator[tuple[str, float]]:
    for name, value in architecture.training:
        yield name.replace("_", " "), 1 + math.log10(float(value)) / LARGEST if float(value) > 0 else 0.0
    yield "stored", {"none": 0.0, "int8": 0.5, "nf4": 1.0}[architecture.quantisation]
