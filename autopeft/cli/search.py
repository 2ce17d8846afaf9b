"""``autopeft search``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli.options import AsJson, Budget
from autopeft.messages import SearchSpec

if TYPE_CHECKING:
    from autopeft.search import Search

TASK = "The task"
SEARCH = "The search"
TRAINING = "The training runs"


def command(
    job: Annotated[
        Path | None, typer.Argument(metavar="[JOB.yaml]", help="A request as a file; options override it.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="minilm, a local model folder, or a hub id org/name[@revision].")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="docstrings, glue/<task>, hf:<org>/<dataset>[/config][@revision], or the path of a CSV, TSV, JSONL "
            "or Parquet file or of a folder with train/validation/test files.",
            rich_help_panel=TASK,
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Text column; twice for pairs. Found by name if left out.", rich_help_panel=TASK),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Class column.", rich_help_panel=TASK)] = None,
    score: Annotated[
        str | None, typer.Option(help="Number column; makes it a regression.", rich_help_panel=TASK)
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What to maximise; `autopeft tasks` lists them.", rich_help_panel=TASK)
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest text in tokens.", rich_help_panel=TASK)] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files.", rich_help_panel=TASK)] = None,
    space: Annotated[str | None, typer.Option(help="A search space's name, or a .yaml file of your own.")] = None,
    budget: Budget = None,
    max_params: Annotated[str | None, typer.Option(help="Cap on trainable parameters: 300000, 300k or 2%.")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Who proposes: `autopeft samplers`.", rich_help_panel=SEARCH)
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="ray, or inline (one process, repeatable).", rich_help_panel=SEARCH)
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Training processes at a time.", rich_help_panel=SEARCH)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the sampler and the proxy runs.", rich_help_panel=SEARCH)
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(help="Seeds at which front and baselines are confirmed; 0: none.", rich_help_panel=SEARCH),
    ] = None,
    baselines: Annotated[
        bool | None, typer.Option("--baselines/--no-baselines", help="Hand-made first trials.", rich_help_panel=SEARCH)
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the search.", rich_help_panel=SEARCH)] = None,
    quantise: Annotated[
        str | None, typer.Option(help="Frozen base as none, int8 or nf4.", rich_help_panel=TRAINING)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32 or bfloat16 for the frozen base.", rich_help_panel=TRAINING)
    ] = None,
    proxy_rows: Annotated[
        str | None, typer.Option(help="Training rows of a trial; 'all'.", rich_help_panel=TRAINING)
    ] = None,
    proxy_epochs: Annotated[float | None, typer.Option(help="Epochs of a trial.", rich_help_panel=TRAINING)] = None,
    full_rows: Annotated[
        str | None, typer.Option(help="Training rows of a confirmation; 'all'.", rich_help_panel=TRAINING)
    ] = None,
    full_epochs: Annotated[
        float | None, typer.Option(help="Epochs of a confirmation.", rich_help_panel=TRAINING)
    ] = None,
    trial_timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a run is ended.", rich_help_panel=TRAINING)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search: from a model, a task and a budget to a Pareto front.

    Without options: 40 trials of the `autopeft` space for MiniLM on the docstrings task. The search goes on where it
    was with `autopeft resume` if it is interrupted or killed.
    """
    from autopeft.documents import read_yaml
    from autopeft.search import Search

    document: dict[str, Any] = read_yaml(job) if job is not None else {}
    given = {
        "model": model, "space": space, "budget": budget, "max_params": max_params, "sampler": sampler,
        "executor": executor, "workers": workers, "seed": seed, "confirm": confirm, "baselines": baselines,
        "name": name, "quantise": quantise, "precision": precision, "trial_timeout": trial_timeout,
    }  # fmt: skip
    document.update({key: value for key, value in given.items() if value is not None})
    _merge(document, "task", {
        "name": task, "text": text or None, "label": label, "score": score, "metric": metric,
        "max_length": max_length, "encoding": encoding,
    })  # fmt: skip
    _merge(document, "proxy", {"rows": proxy_rows, "epochs": proxy_epochs})
    _merge(document, "full", {"rows": full_rows, "epochs": full_epochs})
    run_and_print(Search(**document), as_json)


def run_and_print(search: Search, as_json: bool) -> None:
    """Run a search with its progress on stderr, and print its answer on stdout."""
    import json
    import sys

    from rich.console import Console

    from autopeft.cli.display import Display, draining
    from autopeft.cli.tables import print_answer

    display = Display()
    name = search.record.name
    print(f"search {name} ({search.record.id})", file=sys.stderr)
    controller = search.controller(display)
    with draining(controller), display.live("starting the workers"):
        answer = controller.run()
    if as_json:
        print(json.dumps(answer.to_dict(), indent=2))
    else:
        print_answer(answer, Console())
    if answer.state != "done":
        print(f"{answer.state}; go on with: autopeft resume {name}", file=sys.stderr)
        raise typer.Exit(130 if answer.state == "interrupted" else 0)
    if not as_json:
        print(f"Next: autopeft export {name} --pick knee --format recipe --out {name}-recipe")


def _merge(document: dict[str, Any], key: str, given: dict[str, Any]) -> None:
    """Lay options over a part of the document, and that over the part's own defaults."""
    known = {name: None if value == "all" else value for name, value in given.items() if value is not None}
    if not known:
        return
    before = document.get(key) or {}
    named = {"name": before} if isinstance(before, str) else before
    document[key] = {**SearchSpec.model_fields[key].default.model_dump(), **named, **known}
