"""AutoPEFT's own format: ``recipe.yaml``, which holds everything and ``autopeft train`` reads."""

from __future__ import annotations

from pathlib import Path

from autopeft.exporters.base import Exporter, Fit
from autopeft.recipe import HEADER, SCHEMA, Recipe, dump_recipe

FILE = "recipe.yaml"


def _fit(recipe: Recipe, weights: Path | None) -> Fit:
    return Fit()


def _files(recipe: Recipe, weights: Path | None) -> dict[str, bytes]:
    return {FILE: (HEADER.format(name=FILE) + dump_recipe(recipe)).encode()}


EXPORTER = Exporter(
    summary="recipe.yaml for `autopeft train`; holds everything",
    tool=f"autopeft, schema {SCHEMA}",
    usage=f"autopeft train {FILE} --out trained",
    fit=_fit,
    files=_files,
)
