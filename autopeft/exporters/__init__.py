"""Export formats: one file each, found by name. See :mod:`autopeft.exporters.base` for the contract."""

from __future__ import annotations

from pathlib import Path

from autopeft import registry
from autopeft.errors import InvalidInput, LossyExport, Problem
from autopeft.exporters.base import Exporter
from autopeft.recipe import Recipe

__all__ = ["EXPORTERS", "Exporter", "export"]

EXPORTERS: registry.Registry[Exporter] = registry.EXPORTERS


def export(recipe: Recipe, format_name: str, weights: Path | None, out: Path, allow_lossy: bool = False) -> list[Path]:
    """Write a recipe in a format and return the files.

    Args:
        recipe: what to write.
        format_name: one of ``EXPORTERS.names``.
        weights: safetensors file of the trained tensors, or None to write what a training elsewhere needs.
        out: folder, created if need be; files of the same names are replaced.
        allow_lossy: write what the format can hold, where the format has something to write then.

    Raises:
        InvalidInput: there is no such format, or the weights are missing or another architecture's.
        LossyExport: the format cannot hold the recipe; nothing was written.
    """
    exporter = EXPORTERS.get(format_name)
    if out.exists() and not out.is_dir():
        raise InvalidInput(Problem("out", str(out), "a file; give a folder"))
    if weights is not None and not weights.is_file():
        raise InvalidInput(Problem("weights", str(weights), "no such file"))
    losses = exporter.losses(recipe)
    if losses and not (allow_lossy and exporter.lossy):
        raise LossyExport(format_name, losses)
    return exporter.write(recipe, weights, out)
