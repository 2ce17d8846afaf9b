"""From a row of a search's answer to its recipe."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from autopeft.answer import Row
from autopeft.recipe import (
    SCHEMA,
    Recipe,
    RecipeBaseline,
    RecipeCounts,
    RecipeModel,
    RecipeScores,
    RecipeSearch,
    RecipeTask,
    RecipeTraining,
)
from autopeft.store import SearchRecord

LOCAL_HASH = re.compile(r"[0-9a-f]{16}")


def make_recipe(record: SearchRecord, row: Row, baselines: Iterable[Row] = ()) -> Recipe:
    """Return the recipe of one row; neither the model nor the data is needed.

    Args:
        record: of the search.
        row: of its answer.
        baselines: of its answer; those whose scores do not compare with the row's are left out.
    """
    spec, facts = record.spec, record.facts
    return Recipe(
        schema_version=SCHEMA,
        name=f"{record.name}-{row.trial}",
        created=datetime.now(UTC),
        base_model=_model(spec.model, facts),
        task=_task(record),
        architecture=row.architecture,
        training=RecipeTraining(precision=spec.precision, fidelity=spec.full, settings=spec.training),
        seeds=row.run_seeds if row.confirmed else (spec.proxy_seed(row.architecture),),
        scores=RecipeScores(
            metric=facts["metric"],
            mean=row.score,
            std=row.score_std,
            seeds=row.seeds,
            confirmed=row.confirmed,
            split="validation" if row.confirmed else "holdout",
        ),
        baselines=tuple(_baseline(other) for other in baselines if other.confirmed == row.confirmed),
        counts=RecipeCounts(params=row.params, params_percent=row.params_percent),
        search=RecipeSearch(
            id=record.id,
            name=record.name,
            trial=row.trial,
            space=spec.space,
            sampler=spec.sampler,
            budget=spec.budget,
        ),
        versions=facts["versions"],
    )


def _baseline(row: Row) -> RecipeBaseline:
    return RecipeBaseline(name=row.name, params=row.params, mean=row.score, std=row.score_std, seeds=row.seeds)


def _model(name: str, facts: dict[str, Any]) -> RecipeModel:
    # A hub model's hash is its commit or branch. Submission has made the path of a folder absolute.
    if not LOCAL_HASH.fullmatch(facts["model_hash"]):
        location, revision = "hub", name.partition("@")[2] or None
    else:
        location, revision = ("folder" if "/" in name or "\\" in name else "bundled"), None
    document = {"name": name, "location": location, "revision": revision, "hash": facts["model_hash"]}
    return RecipeModel.model_validate({**document, "parameters": facts["base_parameters"]})


def _task(record: SearchRecord) -> RecipeTask:
    facts = record.facts
    found = {key: facts[key] for key in ("kind", "labels", "metric", "rows")}
    return RecipeTask.model_validate({**record.spec.task.model_dump(), **found, "hash": facts["task_hash"]})
