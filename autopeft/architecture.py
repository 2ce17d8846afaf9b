"""The narrow value that everything meets in: which PEFT modules go where, and what is trained with them.

Every search space decodes to an :class:`Architecture`, every module type attaches its placements to a frozen
model, every exporter translates it. Two points of different spaces that decode to the same architecture have the
same fingerprint and are never trained twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, cast

Scalar = bool | int | float | str
Quantisation = Literal["none", "int8", "nf4"]
QUANTISATIONS: tuple[Quantisation, ...] = ("none", "int8", "nf4")


@dataclass(frozen=True, order=True)
class Placement:
    """One PEFT module at one site of one layer.

    Attributes:
        module: module type, the stem of a file in ``autopeft.modules``.
        site: what it changes, as ``attention.query`` or ``ffn`` (see :mod:`autopeft.geometry`).
        layer: index from 0; an encoder-decoder counts the encoder's layers first.
        size: rank, bottleneck width or prefix length; 0 for a module type that has no size.
        options: sorted ``(name, value)`` pairs that differ from the module type's defaults.
    """

    module: str
    site: str
    layer: int
    size: int = 0
    options: tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        if self.layer < 0 or self.size < 0:
            raise ValueError(f"layer and size must be 0 or more, got layer={self.layer}, size={self.size}")
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    @property
    def key(self) -> str:
        """Name of the placement inside its architecture, unique and usable as a file or state-dict key."""
        return f"{self.layer:03d}:{self.site.replace('.', '-')}:{self.module}"


@dataclass(frozen=True)
class Architecture:
    """A canonical, hashable set of placements, with the hyperparameters and quantisation trained with it.

    Attributes:
        placements: sorted; at most one of a module type at a site of a layer. Empty means "head only".
        training: sorted ``(name, value)`` hyperparameters that override the recipe's own, as ``learning_rate``.
        quantisation: how the frozen base model is stored while the modules train.

    Raises:
        ValueError: two placements of one module type share a site of a layer.
    """

    placements: tuple[Placement, ...] = ()
    training: tuple[tuple[str, Scalar], ...] = ()
    quantisation: Quantisation = "none"

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.placements, key=_place))
        if len(set(map(_place, ordered))) != len(ordered):
            raise ValueError("an architecture holds at most one module of a type at a site of a layer")
        object.__setattr__(self, "placements", ordered)
        object.__setattr__(self, "training", tuple(sorted(self.training)))

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]

    @cached_property
    def module_types(self) -> tuple[str, ...]:
        """The module types used, sorted."""
        return tuple(sorted({p.module for p in self.placements}))

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers that hold at least one module, ascending."""
        return tuple(sorted({p.layer for p in self.placements}))

    def with_quantisation(self, quantisation: Quantisation) -> Architecture:
        """Return the same architecture on a base model stored as ``quantisation``."""
        return replace(self, quantisation=quantisation)

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as JSON values; placements that differ only by layer share one entry."""

        def alike(p: Placement) -> tuple[str, str, int, str]:
            return p.module, p.site, p.size, json.dumps(p.options)

        groups = []
        for _, run in groupby(sorted(self.placements, key=lambda p: (alike(p), p.layer)), key=alike):
            members = list(run)
            first = members[0]
            entry: dict[str, Any] = {
                "module": first.module,
                "site": first.site,
                "layers": [p.layer for p in members],
            }
            if first.size:
                entry["size"] = first.size
            if first.options:
                entry["options"] = dict(first.options)
            groups.append(entry)
        document: dict[str, Any] = {"placements": groups}
        if self.training:
            document["training"] = dict(self.training)
        if self.quantisation != "none":
            document["quantisation"] = self.quantisation
        return document

    def canonical_json(self) -> str:
        """Return the one JSON text of this architecture: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Architecture:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ValueError: a key is unknown or missing, or a value is out of range.
        """
        unknown = set(document) - {"placements", "training", "quantisation"}
        if unknown:
            raise ValueError(f"unknown keys in an architecture: {sorted(unknown)}")
        quantisation = document.get("quantisation", "none")
        if quantisation not in QUANTISATIONS:
            raise ValueError(f"quantisation must be one of {QUANTISATIONS}, got {quantisation!r}")
        return cls(
            placements=tuple(p for entry in document.get("placements", ()) for p in _read_group(entry)),
            training=tuple(document.get("training", {}).items()),
            quantisation=cast(Quantisation, quantisation),
        )

    def summary(self) -> str:
        """Return one line for people, as ``serial_adapter 48 + prefix 6 @ layers 2-5``."""
        if not self.placements:
            return "head only"
        parts = []
        for module in self.module_types:
            mine = [p for p in self.placements if p.module == module]
            sizes = sorted({p.size for p in mine if p.size})
            span = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}" if sizes else ""
            parts.append(f"{module} {span}".strip())
        return f"{' + '.join(parts)} @ layers {_ranges(self.layers)}"


def _place(placement: Placement) -> tuple[int, str, str]:
    return placement.layer, placement.site, placement.module


def _read_group(entry: Mapping[str, Any]) -> Iterable[Placement]:
    unknown = set(entry) - {"module", "site", "layers", "size", "options"}
    if unknown:
        raise ValueError(f"unknown keys in a placement: {sorted(unknown)}")
    missing = {"module", "site", "layers"} - set(entry)
    if missing:
        raise ValueError(f"a placement needs {sorted(missing)}")
    layers, size = entry["layers"], entry.get("size", 0)
    if not isinstance(layers, (list, tuple)) or not all(_is_whole(layer) for layer in layers):
        raise ValueError(f"layers must be a list of whole numbers, got {layers!r}")
    if not _is_whole(size):
        raise ValueError(f"size must be a whole number, got {size!r}")
    options = tuple(dict(entry.get("options", {})).items())
    for layer in layers:
        yield Placement(str(entry["module"]), str(entry["site"]), layer, size, options)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _ranges(numbers: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
