"""AutoPEFT's own format: ``recipe.yaml``, which holds everything and ``autopeft train`` reads."""

from __future__ import annotations

from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.opened import Opened
from autopeft.recipe import HEADER, SCHEMA, dump_recipe

FILE = "recipe.yaml"


def _fit(opened: Opened) -> Fit:
    return Fit()


def _files(opened: Opened) -> dict[str, bytes]:
    return {FILE: (HEADER.format(name=FILE) + dump_recipe(opened.recipe)).encode()}


EXPORTER = Exporter(
    summary="recipe.yaml for `autopeft train`; holds everything",
    tool=f"autopeft, schema {SCHEMA}",
    usage=f"autopeft train {FILE} --out trained",
    fit=_fit,
    files=_files,
)
