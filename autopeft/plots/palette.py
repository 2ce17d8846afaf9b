"""Colours that colour-blind people tell apart (Okabe and Ito 2008), and the module types' names for people."""

from __future__ import annotations

from collections.abc import Iterable

INK, MUTED, FAINT, GRID, CELL = "#1b2430", "#5b6675", "#b4bcc8", "#e3e7ed", "#f2f4f7"
BASELINE, BASELINE_TEXT = "#d55e00", "#ad4a00"
KEPT = BASELINE  # in pictures without baselines

_COLOURS = {
    "lora": "#0072b2",
    "serial_adapter": "#e69f00",
    "parallel_adapter": "#009e73",
    "prefix": "#cc79a7",
    "bitfit": "#56b4e9",
    "ia3": "#c8b900",
    "layer_norm": "#8a8f98",
}
# For module types added later (Tol's muted scheme).
_SPARE = ("#882255", "#332288", "#44aa99", "#999933", "#aa4499", "#117733")
_NAMES = {"lora": "LoRA", "bitfit": "BitFit", "ia3": "(IA)³", "layer_norm": "layer norms"}


def module_name(module: str) -> str:
    """Return a module type's name for people."""
    return _NAMES.get(module, module.replace("_", " "))


def module_colours(modules: Iterable[str]) -> dict[str, str]:
    """Return a colour for every module type; the known ones always have the same."""
    names = sorted(set(modules))
    new = [name for name in names if name not in _COLOURS]
    return {n: _COLOURS[n] if n in _COLOURS else _SPARE[new.index(n) % len(_SPARE)] for n in names}


def tint(colour: str, strength: float) -> str:
    """Return the colour mixed with white; ``strength`` 1 leaves it as it is."""
    parts = (255 - strength * (255 - value) for value in _parts(colour))
    return "#" + "".join(f"{round(part):02x}" for part in parts)


def ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on the colour."""
    red, green, blue = _parts(colour)
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else INK


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
