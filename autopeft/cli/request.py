"""What a search is asked for on the command line: a job file, and options below or above it."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from autopeft.cli.options import MODEL_HELP
from autopeft.errors import InvalidInput, Problem
from autopeft.messages import SearchSpec

DEFAULT = SearchSpec()
TASK = "The task"
SEARCH = "The search"
TRAINING = "The training runs"


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has the options of a request, and its own after them.

    Args:
        command: is called with the document that the request's options make, and with its own options.
    """
    asked = inspect.signature(read_request, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        document = read_request(**{name: given.pop(name) for name in asked})
        command(document, **given)

    # Typer reads these, and not the code.
    run.__signature__ = inspect.Signature([*asked.values(), *own])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*asked.values(), *own)}
    return run


def _number(text: str, default: int | str | None, panel: str) -> Any:
    """Return the option of a number, with its help and what it is where it is not given."""
    return typer.Option(help=text, metavar="N", show_default=str(default), rich_help_panel=panel)


def read_request(
    job: Annotated[
        Path | None,
        typer.Argument(metavar="JOB.yaml", help="The request as a file, instead of options or below them."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=MODEL_HELP,
            metavar="MODEL",
            show_default=DEFAULT.model,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="docstrings, a CSV, TSV, JSONL or Parquet file, a folder with train, validation and test files, "
            "glue/NAME, or hf:ORG/DATASET. See `autopeft tasks`.",
            metavar="TASK",
            show_default=DEFAULT.task.name,
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="What may be chosen: a name that `autopeft spaces` lists, or a .yaml file of your own.",
            metavar="SPACE",
            show_default=DEFAULT.space,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Trials (40), confirmation apart; or wall time (90s, 30m, 2h) or GPU time (4gpu-h) of everything.",
            metavar="BUDGET",
            show_default=DEFAULT.budget,
        ),
    ] = None,
    max_params: Annotated[
        str | None,
        typer.Option(
            help="Most trainable parameters an architecture may have: 300000, 300k, or 2% of the model.",
            metavar="CAP",
            show_default="none",
        ),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            help="params,score and what else to minimise: memory, latency, train_time, bytes. The samplers tpe, gp, "
            "nsga2 and random take more than two.",
            metavar="LIST",
            show_default="params,score",
        ),
    ] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            help="Most of a measured quantity: memory=8GB, latency=20ms, train_time=90s, bytes=500kB. May be given "
            "several times.",
            metavar="NAME=AMOUNT",
        ),
    ] = None,
    param_budgets: Annotated[
        str | None,
        typer.Option(
            help="Numbers of trainable parameters to search at, for the sampler s3delta: 0.1%,0.5% or 20k,100k.",
            metavar="LIST",
            show_default="spread over the space",
        ),
    ] = None,
    gate_order: Annotated[
        str | None,
        typer.Option(
            help="Order of the gradients by which the sampler s3delta trains its gates: first or second.",
            metavar="ORDER",
            show_default=DEFAULT.gates.order,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What to call the search.", metavar="NAME", show_default="its id"),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the text; give it twice for pairs of texts.",
            metavar="COLUMN",
            show_default="found by name",
            rich_help_panel=TASK,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="Column of the class.", metavar="COLUMN", show_default="found by name", rich_help_panel=TASK
        ),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            help="Column of a number to predict, in place of a class.", metavar="COLUMN", rich_help_panel=TASK
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What to maximise; `autopeft tasks` lists the metrics.",
            metavar="METRIC",
            show_default="by the task",
            rich_help_panel=TASK,
        ),
    ] = None,
    max_length: Annotated[
        str | None,
        _number("Longest text in tokens; longer ones are cut.", DEFAULT.task.max_length, TASK),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of text files, as cp1252.",
            metavar="NAME",
            show_default=DEFAULT.task.encoding,
            rich_help_panel=TASK,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Who proposes architectures: `autopeft samplers`.",
            metavar="NAME",
            show_default=DEFAULT.sampler,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="Which trials are stopped early: `autopeft policies`.",
            metavar="NAME",
            show_default="optimistic, where the sampler allows it",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            help="What earlier searches give. same: runs of this task are not trained twice, and are learned from; "
            "all: what was on other tasks' fronts is tried first, too; a search: the same with its front; none.",
            metavar="FROM",
            show_default=DEFAULT.warm_start,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="ray trains in several processes; inline in this one, the same way every time; replay not at all.",
            metavar="NAME",
            show_default=DEFAULT.executor,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="Recorded runs for the executor replay: what `autopeft evaluations --out` wrote.",
            metavar="FILE",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    workers: Annotated[
        str | None,
        _number("Training processes at a time, with ray.", DEFAULT.workers, SEARCH),
    ] = None,
    pack: Annotated[
        str | None,
        _number("Trials that each of them trains in one pass; auto: what fits its GPU.", DEFAULT.pack, SEARCH),
    ] = None,
    seed: Annotated[
        str | None,
        _number("Of the sampler; each trial's own follows from it and the architecture.", DEFAULT.seed, SEARCH),
    ] = None,
    confirm: Annotated[
        str | None,
        _number(
            "At how many seeds the front and the baselines are trained again in full; 0 leaves that out.",
            DEFAULT.confirm,
            SEARCH,
        ),
    ] = None,
    runners_up: Annotated[
        str | None,
        _number(
            "How many trials that only just missed the front are trained again in full too.",
            DEFAULT.runners_up,
            SEARCH,
        ),
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Whether hand-made configurations, as LoRA on q and v, are the first trials.",
            show_default="baselines",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    quantise: Annotated[
        str | None,
        typer.Option(
            help="How the frozen model is stored: none, int8 or nf4.",
            metavar="KIND",
            show_default=DEFAULT.quantise,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the frozen model: auto, float32 or bfloat16.",
            metavar="KIND",
            show_default=DEFAULT.precision,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    proxy_rows: Annotated[
        str | None,
        _number("Training rows of a trial, or all.", DEFAULT.proxy.rows, TRAINING),
    ] = None,
    proxy_epochs: Annotated[
        str | None,
        typer.Option(
            help="Passes over them.",
            metavar="X",
            show_default=f"{DEFAULT.proxy.epochs:g}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    rungs: Annotated[
        str | None,
        typer.Option(
            help="Shares of a trial's training after which it may be stopped, as 1/9,1/3.",
            metavar="LIST",
            show_default="1/9,1/3",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    full_rows: Annotated[
        str | None,
        _number("Training rows of a confirmation, or all.", DEFAULT.full.rows or "all", TRAINING),
    ] = None,
    full_epochs: Annotated[
        str | None,
        typer.Option(
            help="Passes over them.",
            metavar="X",
            show_default=f"{DEFAULT.full.epochs:g}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        typer.Option(
            help="Seconds after which a trial or a confirmation is ended.",
            metavar="X",
            show_default=f"{DEFAULT.trial_timeout:g}",
            rich_help_panel=TRAINING,
        ),
    ] = None,
) -> dict[str, Any]:
    """Return the fields of a :class:`SearchSpec` as they were given, not yet checked."""
    document = _read_job(job)
    given = {
        "model": model, "space": space, "budget": budget, "max_params": max_params, "param_budgets": param_budgets,
        "objectives": objectives, "caps": _caps(cap),
        "sampler": sampler, "policy": policy, "warm_start": warm_start, "executor": executor, "table": table,
        "workers": workers, "pack": pack, "seed": seed, "confirm": confirm, "runners_up": runners_up,
        "baselines": baselines, "name": name, "quantise": quantise, "precision": precision,
        "trial_timeout": trial_timeout,
    }  # fmt: skip
    document.update({key: value for key, value in given.items() if value is not None})
    _merge(document, "task", {
        "name": task, "text": text or None, "label": label, "score": score, "metric": metric,
        "max_length": max_length, "encoding": encoding,
    })  # fmt: skip
    _merge(document, "gates", {"order": gate_order})
    _merge(document, "proxy", {"rows": proxy_rows, "epochs": proxy_epochs, "rungs": _shares(rungs)})
    _merge(document, "full", {"rows": full_rows, "epochs": full_epochs})
    return document


def _read_job(path: Path | None) -> dict[str, Any]:
    from autopeft.documents import read_yaml

    if path is None:
        return {}
    if path.suffix.lower() not in (".yaml", ".yml"):
        remedy = f"a job file ends in .yaml; a task is given as --task {shlex.quote(str(path))}"
        raise InvalidInput(Problem("job", str(path), remedy))
    return read_yaml(path)


def _caps(given: list[str] | None) -> dict[str, str] | None:
    """Return the caps by name; what is not NAME=AMOUNT is left for the request to refuse."""
    return (
        None if given is None else {name.strip(): amount for name, _, amount in (one.partition("=") for one in given)}
    )


def _shares(text: str | None) -> list[str] | None:
    """Return the shares of a list, fractions as decimals; what is no number is left for the request to refuse."""
    from fractions import Fraction

    if text is None:
        return None
    shares = []
    for part in text.split(",") if text.strip() else ():
        try:
            shares.append(str(float(Fraction(part.strip()))))
        except (ValueError, ZeroDivisionError):
            shares.append(part.strip())
    return shares


def _merge(document: dict[str, Any], key: str, given: dict[str, Any]) -> None:
    """Lay options over a part of the document, and that over the part's own defaults."""
    known = {
        name: None if (name, value) == ("rows", "all") else value for name, value in given.items() if value is not None
    }
    before = document.get(key) or {}
    named = {"name": before} if isinstance(before, str) else before
    if known and isinstance(named, dict):  # anything else is refused with the rest of the request
        document[key] = {**getattr(DEFAULT, key).model_dump(), **named, **known}
