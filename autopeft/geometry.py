"""The dimensions of a base model that architectures are made for, read from its config without weights.

A *site* is a hidden representation ``h`` that a PEFT module can change, with the input ``x`` that the model computed
it from (He et al. 2022, arXiv 2110.04366: functional form, insertion form, modified representation, composition).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from autopeft.errors import InvalidInput, Problem
from autopeft.families import FAMILIES, Attention, Block, positions

SiteKind = Literal["linear", "hidden", "sublayer", "norm", "kv"]
# Every site that some family has; no family has them all.
SITE_NAMES = (
    *("attention.query", "attention.key", "attention.value", "attention.qkv", "attention.kv", "attention.output"),
    *("attention", "norm.attention"),
    *("cross_attention.query", "cross_attention.key", "cross_attention.value"),
    *("cross_attention.kv", "cross_attention.output", "cross_attention", "norm.cross_attention"),
    *("ffn.in", "ffn.gate", "ffn.hidden", "ffn.out", "ffn", "norm.ffn", "norm.final"),
)


@dataclass(frozen=True)
class Site:
    """A representation ``h`` of one layer, and where in the model it is found.

    Attributes:
        name: ``attention.query|key|value|qkv|kv|output``, ``attention``, ``ffn.in|gate|hidden|out``, ``ffn``,
            ``norm.attention|ffn|final``; a decoder with cross-attention has ``cross_attention...`` too.
        layer: index from 0, the encoder's layers first.
        kind: ``linear`` (output of a linear), ``hidden`` (input of a linear), ``sublayer`` (output of attention or
            feed-forward before the residual sum), ``norm`` (output of a norm), ``kv`` (keys and values).
        entry: path of the module whose first input is ``x``.
        exit: path of the module whose output (for ``hidden``: whose input) is ``h``.
        in_width: width of ``x``.
        out_width: width of ``h``; for ``kv`` the width of the keys, and of the values.
    """

    name: str
    layer: int
    kind: SiteKind
    entry: str
    exit: str
    in_width: int
    out_width: int


@dataclass(frozen=True)
class ModelGeometry:
    """Layers, sites and widths of a base model.

    Attributes:
        model_type: the config's ``model_type``.
        layers: number of layers, encoder and decoder together.
        width: width of the hidden states.
        sites: every site of every layer, in the order in which the model computes them; but a norm follows its
            sub-layer, also in a family that normalises before it.
        layer_paths: path of the module of every layer.
        positions: tokens that it takes at most; None where there is no end of them.
    """

    model_type: str
    layers: int
    width: int
    sites: tuple[Site, ...]
    layer_paths: tuple[str, ...] = ()
    positions: int | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelGeometry:
        """Read the geometry from a transformers config as a mapping (``config.to_dict()``).

        Raises:
            InvalidInput: the model type is none of the known families.
        """
        model_type = str(config.get("model_type", ""))
        if model_type not in FAMILIES:
            raise InvalidInput(
                Problem(
                    "model",
                    model_type or None,
                    "a model type with no known sites; AutoPEFT knows " + ", ".join(sorted(FAMILIES)),
                )
            )
        blocks = FAMILIES[model_type](config)
        sites: list[Site] = []
        paths: list[str] = []
        for block in blocks:
            for index in range(block.count):
                sites.extend(_layer_sites(block, len(paths), index))
                paths.append(block.layer.format(i=index))
        return cls(model_type, len(paths), blocks[0].width, tuple(sites), tuple(paths), positions(config))

    @cached_property
    def _by_place(self) -> dict[tuple[str, int], Site]:
        return {(site.name, site.layer): site for site in self.sites}

    @cached_property
    def site_names(self) -> tuple[str, ...]:
        """Names of the sites that at least one layer has, in the order of computation."""
        return tuple(dict.fromkeys(site.name for site in self.sites))

    def find(self, name: str, layer: int) -> Site | None:
        """Return the site of that name in that layer, or None where the layer has none."""
        return self._by_place.get((name, layer))

    def site(self, name: str, layer: int) -> Site:
        """Return the site of that name in that layer.

        Raises:
            InvalidInput: the layer has no such site.
        """
        found = self.find(name, layer)
        if found is None:
            known = [s.name for s in self.sites if s.layer == layer]
            if not known:
                raise InvalidInput(Problem("layer", layer, f"{self.model_type} has layers 0 to {self.layers - 1}"))
            raise InvalidInput(Problem.unknown(f"site of layer {layer}", name, known))
        return found


def _layer_sites(block: Block, layer: int, index: int) -> Iterator[Site]:
    def place(name: str, kind: SiteKind, entry: str, exit: str, in_width: int, out_width: int) -> Site:
        return Site(name, layer, kind, entry.format(i=index), exit.format(i=index), in_width, out_width)

    width, ffn = block.width, block.ffn_width
    for prefix, attention in block.attention.items():
        for role, path in attention.linears.items():
            if role != "output":
                yield place(f"{prefix}.{role}", "linear", path, path, width, _projection_width(attention, role))
        if attention.takes_prefix:
            yield place(f"{prefix}.kv", "kv", attention.module, attention.module, width, attention.kv_width)
        output = attention.linears["output"]
        yield place(f"{prefix}.output", "linear", output, output, attention.query_width, width)
        yield place(prefix, "sublayer", attention.module, output, width, width)
        if prefix in block.norms:
            yield place(f"norm.{prefix}", "norm", block.norms[prefix], block.norms[prefix], width, width)
    for role, path in block.ffn_linears.items():
        if role != "out":
            yield place(f"ffn.{role}", "linear", path, path, width, ffn)
    out = block.ffn_linears["out"]
    yield place("ffn.hidden", "hidden", block.ffn_entry, out, width, ffn)
    yield place("ffn.out", "linear", out, out, ffn, width)
    yield place("ffn", "sublayer", block.ffn_entry, out, width, width)
    if "ffn" in block.norms:
        yield place("norm.ffn", "norm", block.norms["ffn"], block.norms["ffn"], width, width)
    if block.final_norm and index == block.count - 1:
        yield place("norm.final", "norm", block.final_norm, block.final_norm, width, width)


def _projection_width(attention: Attention, role: str) -> int:
    if role == "query":
        return attention.query_width
    if role == "qkv":
        return attention.query_width + 2 * attention.kv_width
    return attention.kv_width
