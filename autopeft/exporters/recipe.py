"""AutoPEFT's own format: ``recipe.yaml``, which holds everything and ``autopeft train`` reads."""

from __future__ import annotations

from pathlib import Path

from autopeft.exporters.base import Exporter
from autopeft.recipe import Recipe, write_recipe

FILE = "recipe.yaml"


def _losses(recipe: Recipe) -> tuple[str, ...]:
    return ()


def _write(recipe: Recipe, weights: Path | None, out: Path) -> list[Path]:
    write_recipe(recipe, out / FILE)
    return [out / FILE]


EXPORTER = Exporter(summary="recipe.yaml for `autopeft train`; holds everything", losses=_losses, write=_write)
