"""What is the same in every run: the layers below the lowest module, and of its own layer what comes before it.

Each is the output of a module of the base model. Where it is given, that module and those that are there for its sake
need not compute::

    layers below ─► x ─► query, key, value ─► attention ─► output ─► norm, sum ─► in, gate ─► out ─► norm, sum
    └───────────┘        └───────────────┘    └────────────────┘                  └─────────────┘
    always               where no norm        where no module sits                where none sits inside
                         before them changes  in attention                        the feed-forward part
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from autopeft.geometry import ModelGeometry
from autopeft.modules.attach import Attachment
from autopeft.modules.pack import CALLED_WITHOUT_ROWS, Pack

StandIns = Mapping[str, Callable[..., Any]]

# Sites that neither change nor read what is inside the feed-forward part, and those that do not of attention. A norm
# is before its sub-layer in some families and behind it in others.
BEHIND_FEED_FORWARD = frozenset({"ffn", "norm.final"})
BEHIND_ATTENTION = BEHIND_FEED_FORWARD | {"ffn.in", "ffn.gate", "ffn.hidden", "ffn.out", "norm.ffn"}
PROJECTIONS = ("attention.query", "attention.key", "attention.value", "attention.qkv")


@dataclass(frozen=True)
class Settled:
    """A module of the base model whose output no trained weight has a part in.

    Attributes:
        path: of the module.
        own_tokens: whether its output is read for the same tokens as the layer's; keys and values are read for all
            of them, even where a layer is computed for one.
        stand_ins: takes the output, and gives what modules are to compute in place of what they do, by path.
    """

    path: str
    own_tokens: bool
    stand_ins: Callable[[Any], StandIns]


def settled(attached: Attachment | Pack) -> list[Settled]:
    """Return what no module of an attachment or a pack changes, in the order of computation."""
    geometry, lowest = attached.geometry, attached.boundary
    found = [] if lowest == 0 else [below(geometry, lowest)]
    changed = {placement.site for placement in attached.placements if placement.layer == lowest}
    if not changed:  # a head alone
        return found
    if changed <= BEHIND_ATTENTION:
        found.append(_attention(geometry, lowest))
        if changed <= BEHIND_FEED_FORWARD:
            found.append(_feed_forward(geometry, lowest))
    elif "norm.attention" not in changed:
        found += _projections(geometry, lowest)
    return found


def below(geometry: ModelGeometry, boundary: int) -> Settled:
    """Return the layers below a boundary of 1 or more."""
    paths = geometry.layer_paths[:boundary]
    return Settled(paths[-1], False, lambda output: dict.fromkeys(paths, _giving(output)))


@contextmanager
def computed_by(base: nn.Module, stand_ins: StandIns) -> Iterator[None]:
    """Let modules of the base model compute what stands in for them; hooks on them still see and change it."""
    modules = [base.get_submodule(path) for path in stand_ins]
    try:
        for module, stand_in in zip(modules, stand_ins.values(), strict=True):
            # In the module's own dictionary, where it hides the method of its class.
            module.__dict__["forward"] = stand_in
        yield
    finally:
        for module in modules:
            module.__dict__.pop("forward", None)


def _projections(geometry: ModelGeometry, layer: int) -> Iterator[Settled]:
    for name in PROJECTIONS:
        site = geometry.find(name, layer)
        if site is not None and name not in CALLED_WITHOUT_ROWS.get(geometry.model_type, ()):
            yield _projection(site.exit, own_tokens=name == "attention.query")


def _projection(path: str, own_tokens: bool) -> Settled:
    return Settled(path, own_tokens, lambda output: {path: _giving_in_shape(output)})


def _attention(geometry: ModelGeometry, layer: int) -> Settled:
    site = geometry.site("attention", layer)

    def stand_ins(output: Tensor) -> StandIns:
        # The output's linear is a part of the attention module in some families, and behind it in others.
        return {site.entry: _giving((output, None)), site.exit: _giving(output)}

    return Settled(site.exit, True, stand_ins)


def _feed_forward(geometry: ModelGeometry, layer: int) -> Settled:
    out = geometry.site("ffn.out", layer).exit
    into = [site.exit for name in ("ffn.in", "ffn.gate") if (site := geometry.find(name, layer))]
    return Settled(out, True, lambda output: {**dict.fromkeys(into, _first_feature), out: _giving_in_shape(output)})


def _giving(output: Any) -> Callable[..., Any]:
    return lambda *_, **__: output


def _giving_in_shape(output: Tensor) -> Callable[..., Any]:
    return lambda x: output.view(*x.shape[:-1], -1)  # OPT has rows and tokens in one dimension there


def _first_feature(x: Tensor) -> Tensor:
    """Return what is not read, as little as may be."""
    return x[..., :1]
