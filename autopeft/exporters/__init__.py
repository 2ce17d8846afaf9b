"""Export formats: one file each, found by name. See :mod:`autopeft.exporters.base` for the contract."""

from __future__ import annotations

from pathlib import Path

from autopeft import registry
from autopeft.errors import InvalidInput, LossyExport, Problem
from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.opened import Opened
from autopeft.exporters.readme import describe_exports
from autopeft.recipe import Recipe
from autopeft.storage import write_atomically

__all__ = ["EXPORTERS", "Exporter", "Fit", "Opened", "export", "export_all", "fits", "render"]

EXPORTERS: registry.Registry[Exporter] = registry.EXPORTERS
README = "README.md"


def fits(recipe: Recipe, weights: Path | None = None) -> dict[str, Fit]:
    """Return how a recipe fits into every format, by the format's name.

    Args:
        recipe: what would be written.
        weights: safetensors file of the trained tensors, or None.

    Raises:
        InvalidInput: the recipe's base model is not to be had any more, or is another one.
    """
    return _fits(Opened(recipe, weights))


def render(recipe: Recipe, format_name: str, weights: Path | None, allow_lossy: bool = False) -> dict[str, bytes]:
    """Return what a recipe's files in a format contain, by their names.

    Args:
        recipe: what to write.
        format_name: one of ``EXPORTERS.names``.
        weights: safetensors file of the trained tensors, or None for what a training elsewhere needs.
        allow_lossy: write what the format can hold, with a list of what it cannot.

    Raises:
        InvalidInput: there is no such format, or the base model or the weights are missing, or other ones.
        LossyExport: the format cannot hold the recipe.
    """
    exporter, opened = EXPORTERS.get(format_name), Opened(recipe, weights)
    fit = exporter.fit(opened)
    if not fit.writes(allow_lossy):
        remedy = "" if fit.obstacles else "--allow-lossy writes it nevertheless, with this list in it"
        raise LossyExport(format_name, fit.reasons, remedy)
    return exporter.files(opened)


def export(recipe: Recipe, format_name: str, weights: Path | None, out: Path, allow_lossy: bool = False) -> list[Path]:
    """Write a recipe in a format, as :func:`render` gives it, and return the files.

    Args:
        recipe: what to write.
        format_name: one of ``EXPORTERS.names``.
        weights: as :func:`render` takes it.
        out: folder, created if need be; files of the same names are replaced.
        allow_lossy: the same.

    Raises:
        InvalidInput, LossyExport: as :func:`render` does; nothing was written.
    """
    _check(weights, out)
    return _write(render(recipe, format_name, weights, allow_lossy), out)


def export_all(recipe: Recipe, weights: Path | None, out: Path, allow_lossy: bool = False) -> list[Path]:
    """Write a recipe in every format that holds it, and a ``README.md`` about all formats; return the files.

    Args:
        recipe: what to write.
        weights: safetensors file of the trained tensors, or None.
        out: folder, with a sub-folder for each format.
        allow_lossy: write also what can be written of the recipe in the other formats.

    Raises:
        InvalidInput: the base model or the weights are missing, or other ones; nothing was written.
    """
    _check(weights, out)
    opened = Opened(recipe, weights)
    found = _fits(opened)
    written = [name for name, fit in found.items() if fit.writes(allow_lossy)]
    contents = {name: EXPORTERS.get(name).files(opened) for name in written}
    readme = describe_exports(opened, EXPORTERS.all(), found, written)
    paths = _write({README: readme.encode()}, out)
    for name, files in contents.items():
        paths += _write(files, out / name)
    return paths


def _fits(opened: Opened) -> dict[str, Fit]:
    return {name: exporter.fit(opened) for name, exporter in EXPORTERS.all().items()}


def _check(weights: Path | None, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InvalidInput(Problem("out", str(out), "a file; give a folder"))
    if weights is not None and not weights.is_file():
        raise InvalidInput(Problem("weights", str(weights), "no such file"))


def _write(files: dict[str, bytes], out: Path) -> list[Path]:
    for name, content in files.items():
        write_atomically(out / name, content)
    return [out / name for name in sorted(files)]
