"""What is known of architectures before a search begins: how they ranked on other tasks.

Most of what makes an architecture good for its cost is no matter of the task: modules on the last layers alone learn
little, one size on the middle layers goes far. Ranks of recorded runs, as normal quantiles within their task, are
fitted by a quadratic in what can be said of an architecture on any base model: parameters by depth and by module type.
A sampler takes that for its model's mean, and its own trials say how much to make of it.

``experience.json`` ships what ``benchmarks/experience.py`` learned; the runs are under ``benchmarks/oracle/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from autopeft.geometry import ModelGeometry
from autopeft.samplers.features import Features
from autopeft.warp import Floats, Warp

FILE = Path(__file__).with_suffix(".json")
# Parts of a model's depth that its layers are brought to.
DEPTHS = 6
# How much the coefficients are held to none, in runs' worth of evidence.
RIDGE = 10.0
# Weight of products of two features beside that of the features, so that plain effects are preferred.
PRODUCTS = 0.25
# Standard deviations from the evidence up to which the quadratic is followed.
FARTHEST = 3.0


@dataclass(frozen=True)
class Experience:
    """Expected quantiles of scores: ``level + linear z + z square z``, of standardised common features ``z``.

    Attributes:
        names: of the common features that tell the recorded runs apart.
        center: their means, of shape ``(features,)``.
        scale: their deviations, of shape ``(features,)``.
        linear: of shape ``(features,)``.
        square: of shape ``(features, features)``.
        most: the largest quantile there was; no expectation is farther from 0.
        evidence: what it was learned from, for people.
    """

    names: tuple[str, ...]
    center: Floats
    scale: Floats
    level: float
    linear: Floats
    square: Floats
    most: float
    evidence: tuple[str, ...]

    @classmethod
    def learn(cls, tasks: Iterable[tuple[ModelGeometry, Floats, Floats]], evidence: Iterable[str] = ()) -> Experience:
        """Learn from tasks: of each its model's geometry, its architectures' :class:`Features`, and their scores.

        Every task counts by its runs; scores are compared within a task alone.
        """
        rows, quantiles = list[Floats](), list[Floats]()
        names: list[str] = []
        for geometry, x, scores in tasks:
            names, common = _common(geometry, x)
            rows.append(common)
            quantiles.append(Warp(scores).quantiles(scores))
        x, y = np.vstack(rows), np.concatenate(quantiles)
        differ = np.flatnonzero(np.ptp(x, axis=0) > 0)
        center, scale = x[:, differ].mean(0), x[:, differ].std(0)
        z = (x[:, differ] - center) / scale
        first, second = np.triu_indices(len(differ))
        terms = np.hstack([z, PRODUCTS * z[:, first] * z[:, second]])
        mean = terms.mean(0)
        penalised = (terms - mean).T @ (terms - mean) + RIDGE * np.eye(terms.shape[1])
        weights = np.linalg.solve(penalised, (terms - mean).T @ (y - y.mean()))
        square = np.zeros((len(differ), len(differ)))
        square[first, second] = PRODUCTS * weights[len(differ) :]
        return cls(
            names=tuple(names[index] for index in differ),
            center=center,
            scale=scale,
            level=float(y.mean() - mean @ weights),
            linear=weights[: len(differ)],
            square=square,
            most=float(np.abs(y).max()),
            evidence=tuple(evidence),
        )

    def expect(self, geometry: ModelGeometry, x: Floats) -> Floats:
        """Return the expected quantiles of architectures, of shape ``(rows,)``.

        Args:
            geometry: of the model.
            x: their :class:`Features` on it, of shape ``(rows, features)``.
        """
        names, common = _common(geometry, x)
        z = (common[:, [names.index(name) for name in self.names]] - self.center) / self.scale
        z = np.clip(z, -FARTHEST, FARTHEST)
        found: Floats = self.level + z @ self.linear + np.sum((z @ self.square) * z, axis=1)
        return np.clip(found, -self.most, self.most)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        arrays = {name: getattr(self, name).round(5).tolist() for name in ("center", "scale", "linear", "square")}
        plain = {"names": list(self.names), "level": round(self.level, 5), "most": round(self.most, 5)}
        return {"evidence": list(self.evidence), **plain, **arrays}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Experience:
        """Read what :meth:`to_dict` returned."""
        arrays = {name: np.array(values[name]) for name in ("center", "scale", "linear", "square")}
        return cls(
            names=tuple(values["names"]),
            level=values["level"],
            most=values["most"],
            evidence=tuple(values["evidence"]),
            **arrays,
        )


# Of nothing: 0 is expected of everything.
NONE = Experience((), np.empty(0), np.empty(0), 0.0, np.empty(0), np.empty((0, 0)), 0.0, ())


@cache
def shipped() -> Experience:
    """Return the experience that comes with the package."""
    return Experience.from_dict(json.loads(FILE.read_text(encoding="utf-8")))


def _common(geometry: ModelGeometry, x: Floats) -> tuple[list[str], Floats]:
    """Return features that mean the same on every model, and their names: without sites, depths for layers."""
    names = Features(geometry).names
    layers = [names.index(f"layer {layer}") for layer in range(geometry.layers)]
    apart = {*layers, *(names.index(site) for site in geometry.site_names)}
    kept = [index for index in range(len(names)) if index not in apart]
    depths = x[:, layers] @ _overlaps(geometry.layers, DEPTHS)
    return [*(f"depth {part}" for part in range(DEPTHS)), *(names[i] for i in kept)], np.hstack([depths, x[:, kept]])


def _overlaps(layers: int, parts: int) -> Floats:
    """Return how much of each part of the depth each layer is, of shape ``(layers, parts)``; columns sum to 1."""
    edges, cuts = np.arange(layers + 1) / layers, np.arange(parts + 1) / parts
    inside = np.minimum(edges[1:, None], cuts[1:]) - np.maximum(edges[:-1, None], cuts[:-1])
    overlaps: Floats = np.maximum(inside, 0.0) * parts
    return overlaps
