"""Training a recipe at full fidelity over seeds, and leaving the best of them as a loadable model."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.base_models import BaseModel, describe_model, load_tokenizer
from autopeft.errors import AutopeftError, Conflict, InvalidInput, Problem
from autopeft.executors import EXECUTORS, Executor, ExecutorOptions
from autopeft.merge import require_mergeable, write_merged
from autopeft.messages import Part, TrialReport, TrialRequest
from autopeft.model_card import CardFacts, model_card
from autopeft.modules.plan import normalise
from autopeft.recipe import Recipe, write_recipe
from autopeft.storage import write_atomically
from autopeft.submission import package_versions
from autopeft.tasks import TaskData, load_task
from autopeft.trained_files import CARD, MERGED, METRICS, MODEL, MODULES, RECIPE, TrainedFacts

WAIT_SECONDS = 0.5
PARTS: tuple[Part, ...] = ("holdout", "validation", "test")


@dataclass(frozen=True)
class Spread:
    """A metric over seeds: its mean, and its sample standard deviation (None with fewer than two)."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class Comparison:
    """The score of this training beside the recipe's, on the same split.

    Attributes:
        now, recipe: means over seeds.
        confirmed: whether the recipe's is of runs at full fidelity, as this one; else it is of a short proxy run.
    """

    split: Part
    metric: str
    now: float
    recipe: float
    confirmed: bool

    @property
    def points(self) -> float:
        """What has changed, in hundredths."""
        return 100 * (self.now - self.recipe)


@dataclass(frozen=True)
class TrainedSummary:
    """What retraining came to.

    Attributes:
        folder: where the trained model is.
        metric: the task's.
        kept: seed whose weights were kept: the best on the held-out rows, which neither validation nor test are of.
        scores: by split and metric, over the seeds that finished.
        runs: the reports by seed, without weights; a failed one has its reason.
        comparison: with the recipe's score; None where the recipe's is of a metric that this task does not have.
        warnings: what has changed since the recipe was made, and seeds that failed, a line each.
        facts: ``metrics.json`` as a whole.
    """

    folder: Path
    metric: str
    kept: int
    scores: dict[str, dict[str, Spread]]
    runs: dict[int, TrialReport]
    comparison: Comparison | None
    warnings: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Changes:
    """What is not as it was when the recipe was made.

    Attributes:
        hashes: of the task and the base model: the recipe's, and those found.
        versions: the same of packages, of those whose versions differ.
        warnings: what there is to say of it, a line each.
    """

    hashes: dict[str, dict[str, str]]
    versions: dict[str, dict[str, str | None]]
    warnings: tuple[str, ...]


Listener = Callable[[int, TrialReport], None]


def retrain(
    recipe: Recipe,
    seeds: Sequence[int],
    out: Path,
    executor: str = "inline",
    workers: int = 1,
    listener: Listener = lambda seed, report: None,
    ray_address: str | None = None,
    merged: bool = False,
    warn: Callable[[str], None] = lambda warning: None,
) -> TrainedSummary:
    """Train a recipe once for every seed and write the model of the best into a folder.

    Args:
        recipe: what to train, at its own fidelity.
        seeds: of the modules' and the head's initial weights and the order of the rows.
        out: folder, created if need be; an earlier result in it is replaced.
        executor: name of an executor.
        workers: runs at a time, where the executor can.
        listener: is told of every seed and its report as it comes in.
        ray_address: of a running cluster, for the executor ``ray``.
        merged: whether to write the model without modules too, folded into a plain transformers one.
        warn: is told, before the training starts, of everything that has changed since the recipe was made.

    Raises:
        LossyExport: it is to be merged, and has modules that cannot be folded.
        Conflict: the folder holds something else.
        InvalidInput: the model, the task or the architecture is not to be had any more; every problem is listed.
        AutopeftError: every seed failed.
    """
    _check_folder(out)
    kind = EXECUTORS.get(executor)
    base, task = _prepare(recipe, seeds)
    if merged:
        require_mergeable(recipe)
    changes = _find_changes(recipe, base, task)
    for warning in changes.warnings:
        warn(warning)
    out.mkdir(parents=True, exist_ok=True)
    best: tuple[int, TrialReport] | None = None
    runs: dict[int, TrialReport] = {}
    started = kind.start(ExecutorOptions(workers, ray_address))
    try:
        for seed, report in _train(recipe, base, task, seeds, started):
            runs[seed] = report.model_copy(update={"weights": None})
            listener(seed, runs[seed])
            if report.state == "complete" and (best is None or _rank(seed, report) > _rank(*best)):
                best = seed, report
    finally:
        started.close()
    if best is None:
        told = "\n".join(f"seed {seed}: {run.reason}: {run.detail}" for seed, run in sorted(runs.items()))
        raise AutopeftError(f"no seed could be trained:\n{told}")
    summary = _summarise(recipe, task, changes, dict(sorted(runs.items())), best[0], out)
    _write(recipe, base, task, best, summary, merged)
    return summary


def _rank(seed: int, report: TrialReport) -> tuple[float, int]:
    # Ties go to the lowest seed, in whichever order the runs come in.
    return report.scores["holdout"], -seed


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InvalidInput(Problem("out", str(out), "a file; give a folder"))
    if out.is_dir() and any(out.iterdir()) and not (out / MODEL).is_file():
        raise Conflict(f"the folder {str(out)!r} is not empty and holds no trained model; choose another")


def _prepare(recipe: Recipe, seeds: Sequence[int]) -> tuple[BaseModel, TaskData]:
    problems: list[Problem] = []
    base: BaseModel | None = None
    task: TaskData | None = None
    if not seeds or len(set(seeds)) < len(seeds):
        problems.append(Problem("seeds", list(seeds), "give at least one, and each once"))
    try:
        base = describe_model(recipe.base_model.address)
        normalise(recipe.architecture, base.geometry)
    except InvalidInput as error:
        problems.extend(error.problems)
    try:
        task = load_task(recipe.task.spec)
    except InvalidInput as error:
        problems.extend(error.problems)
    if problems or base is None or task is None:
        raise InvalidInput(*problems)
    return base, task


def _train(
    recipe: Recipe, base: BaseModel, task: TaskData, seeds: Sequence[int], executor: Executor
) -> Iterator[tuple[int, TrialReport]]:
    running = {}
    for seed in seeds:
        request = _request(recipe, base, task, seed)
        running[request.key] = seed
        executor.submit(request)
    while running:
        for report in executor.wait(WAIT_SECONDS):
            yield running.pop(report.key), report


def _request(recipe: Recipe, base: BaseModel, task: TaskData, seed: int) -> TrialRequest:
    return TrialRequest(
        key=f"train {recipe.name}.{seed}",
        model=recipe.base_model.address,
        task=recipe.task.spec,
        architecture=recipe.architecture.to_dict(),
        fidelity=recipe.training.fidelity,
        model_hash=base.fingerprint,
        task_hash=task.fingerprint,
        training=recipe.training.settings,
        precision=recipe.training.precision,
        seed=seed,
        parts=PARTS,
        keep_weights=True,
    )


def _summarise(
    recipe: Recipe, task: TaskData, changes: _Changes, runs: dict[int, TrialReport], kept: int, out: Path
) -> TrainedSummary:
    finished = [run for run in runs.values() if run.state == "complete"]
    scores: dict[str, dict[str, Spread]] = {
        part: {name: _spread([run.metrics[part][name] for run in finished]) for name in finished[0].metrics[part]}
        for part in PARTS
    }
    comparison = _compare(recipe, scores)
    warnings = [*changes.warnings, *_failures(runs)]
    facts = {
        "metric": task.metric,
        "kept_seed": kept,
        "scores": {part: {name: vars(s) for name, s in spreads.items()} for part, spreads in scores.items()},
        "runs": [{"seed": seed, **_run_facts(run)} for seed, run in runs.items()],
        "comparison": None if comparison is None else {**vars(comparison), "points": comparison.points},
        **changes.hashes,
        "versions": changes.versions,
        "warnings": warnings,
    }
    return TrainedSummary(out, task.metric, kept, scores, runs, comparison, tuple(warnings), facts)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _run_facts(run: TrialReport) -> dict[str, Any]:
    if run.state == "failed":
        return run.model_dump(mode="json", include={"state", "reason", "detail", "seconds"})
    told = {"state", "metrics", "params", "head_params", "seconds", "peak_memory", "best_step", "steps", "device"}
    return run.model_dump(mode="json", include=told)


def _compare(recipe: Recipe, scores: dict[str, dict[str, Spread]]) -> Comparison | None:
    told = recipe.scores
    now = scores[told.split].get(told.metric)
    return None if now is None else Comparison(told.split, told.metric, now.mean, told.mean, told.confirmed)


def _find_changes(recipe: Recipe, base: BaseModel, task: TaskData) -> _Changes:
    hashes = {
        "task_hash": {"recipe": recipe.task.hash, "found": task.fingerprint},
        "base_model_hash": {"recipe": recipe.base_model.hash, "found": base.fingerprint},
    }
    versions: dict[str, dict[str, str | None]] = {
        name: {"recipe": recipe.versions.get(name), "found": version}
        for name, version in package_versions().items()
        if recipe.versions.get(name) != version
    }
    return _Changes(hashes, versions, tuple(_told(recipe, hashes, versions)))


def _told(
    recipe: Recipe, hashes: dict[str, dict[str, str]], versions: dict[str, dict[str, str | None]]
) -> Iterator[str]:
    names = {"task_hash": f"the data of task {recipe.task.name!r}", "base_model_hash": f"{recipe.base_model.name!r}"}
    for what, seen in hashes.items():
        if seen["recipe"] != seen["found"]:
            yield (
                f"{names[what]} changed since the search ({seen['recipe']}, now {seen['found']}): "
                "these scores do not compare with the recipe's"
            )
    for package, version in versions.items():
        if version["recipe"] is not None:
            yield f"the recipe was made with {package} {version['recipe']}; here is {version['found']}"


def _failures(runs: dict[int, TrialReport]) -> list[str]:
    failed = [(seed, run) for seed, run in runs.items() if run.state == "failed"]
    return [f"seed {seed} failed: {run.reason}: {run.detail}" for seed, run in failed]


def _write(
    recipe: Recipe,
    base: BaseModel,
    task: TaskData,
    best: tuple[int, TrialReport],
    summary: TrainedSummary,
    merged: bool,
) -> None:
    out, (seed, report) = summary.folder, best
    assert report.weights is not None, "the weights were asked for"
    facts = TrainedFacts(
        base_model=recipe.base_model.address,
        base_model_hash=base.fingerprint,
        kind=task.kind,
        labels=task.labels,
        texts=1 if task.train.second is None else 2,
        max_length=recipe.task.max_length,
        center=report.center,
        scale=report.scale,
        seed=seed,
        architecture=recipe.architecture.fingerprint,
        modules=hashlib.sha256(report.weights).hexdigest(),
    )
    write_recipe(recipe, out / RECIPE)
    load_tokenizer(recipe.base_model.address).save_pretrained(str(out))
    write_atomically(out / MODULES, report.weights)
    write_atomically(out / METRICS, json.dumps(summary.facts, indent=2) + "\n")
    shutil.rmtree(out / MERGED, ignore_errors=True)  # of an earlier training
    if merged:
        write_merged(recipe, facts, report.weights, out / MERGED)
    card = CardFacts(recipe, facts, summary.facts, base, package_versions(), merged)
    write_atomically(out / CARD, model_card(card))
    # Last, and naming the tensors: a crash on the way leaves a folder that says so when it is loaded.
    write_atomically(out / MODEL, facts.model_dump_json(indent=2) + "\n")
