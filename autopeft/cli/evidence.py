"""``autopeft evidence``: why a sampler chose what it chose, as tables, as JSON or as pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.options import AsJson, SearchName

if TYPE_CHECKING:
    from rich.console import Console

    from autopeft.evidence import Evidence, Stage, Structure

# So many sites, and bands of layers, say where the gates of a structure are.
SITES, BANDS = 3, 3


def command(
    search: SearchName,
    out: Annotated[
        Path | None,
        typer.Option(help="Also draw it: a .png for each budget or stage, in this folder.", metavar="DIR"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show why a search with the sampler s3delta or progressive chose what it chose.

    That is the gates of each budget, or the answers of each stage; of a search under way, what there is so far.

    Example: autopeft evidence reviews --out pictures
    """
    import json
    import sys

    from rich.console import Console

    from autopeft.search import Search

    evidence = Search.load(search).evidence
    if as_json:
        print(json.dumps(evidence.to_dict(), indent=2))
    else:
        _print_evidence(evidence, Console())
    if out is not None:
        from autopeft.plots import plot_evidence

        for path in plot_evidence(evidence, out):
            print(f"wrote {path}", file=sys.stderr)


def _print_evidence(evidence: Evidence, console: Console) -> None:
    if evidence.is_empty:
        what = "no structure is found" if evidence.sampler == "s3delta" else "no stage is decided"
        console.print(f"Search {evidence.name}: {evidence.state}, and {what} yet.", markup=False)
    if evidence.structures:
        _print_structures(evidence, console)
    for number, stage in enumerate(evidence.stages, 1):
        _print_stage(number, stage, console)
    if evidence.stages:
        _print_design(evidence, console)


def _print_structures(evidence: Evidence, console: Console) -> None:
    from rich.markup import escape

    from autopeft.cli.tables import print_table

    rows = [
        (
            f"{one.budget:,}",
            f"{one.params:,}",
            f"{len(one.kept)} of {len(one.gates)}",
            _sites(one),
            _layers(one),
        )
        for one in evidence.structures
    ]
    headings = ("asked", "params", "gates kept", "of which most at", "by layers")
    title = f"Structures of {escape(evidence.name)}: gates kept under each number of parameters"
    print_table(title, headings, rows, console, whole=headings[:3])


def _sites(structure: Structure) -> str:
    """Return the modules' sites with the most kept gates, as ``lora ffn.in 5/6``."""
    kept = Counter((gate.module, gate.site) for gate in structure.kept)
    there = Counter((gate.module, gate.site) for gate in structure.gates)
    most = sorted(kept, key=lambda place: (-kept[place], -kept[place] / there[place], place))
    texts = [f"{module} {site} {kept[module, site]}/{there[module, site]}" for module, site in most[:SITES]]
    others = [f"{len(most) - SITES} other sites"] if len(most) > SITES else []
    return ", ".join(texts + others)


def _layers(structure: Structure) -> str:
    """Return how many gates are kept in each band of layers, as ``0-3: 1, 4-7: 2, 8-11: 9``."""
    bands = min(BANDS, structure.layers)
    edges = [round(structure.layers * band / bands) for band in range(bands + 1)]
    texts = []
    for first, end in zip(edges, edges[1:], strict=False):
        count = sum(first <= gate.layer < end for gate in structure.kept)
        texts.append(f"{first if end - first == 1 else f'{first}-{end - 1}'}: {count}")
    return ", ".join(texts)


def _print_stage(number: int, stage: Stage, console: Console) -> None:
    from rich.markup import escape

    from autopeft.cli.tables import print_table

    rows = [
        (
            one.label,
            "" if one.mean is None else f"{one.mean:.4f}",
            "" if one.std is None else f"{one.std:.4f}",
            " ".join(map(str, one.trials)),
            "best" if one is stage.winner else "every run failed" if one.mean is None else "",
        )
        for one in stage.ranked
    ]
    headings = ("answer", "mean", "deviation", "trials", "")
    print_table(f"Stage {number}: {escape(stage.stage)}", headings, rows, console, whole=headings[1:3])


def _print_design(evidence: Evidence, console: Console) -> None:
    count = "1 stage" if len(evidence.stages) == 1 else f"{len(evidence.stages)} stages"
    console.print(f"Design after {count}, by the mean {evidence.metric} of each answer:", markup=False)
    for stage in evidence.stages:
        console.print(f"  {stage.stage}: {stage.winner.label}", soft_wrap=True, markup=False)
