"""``autopeft spaces``: the search spaces that are shipped, and what one of them, or a file, holds on a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli.options import MODEL_HELP, AsJson
from autopeft.messages import SearchSpec

if TYPE_CHECKING:
    from rich.console import Console

    from autopeft.architecture import Architecture, Scalar
    from autopeft.cli.space_report import Extent, Sample
    from autopeft.space import SearchSpace
    from autopeft.space.schema import SpaceDocument

DEFAULT = SearchSpec()
SAMPLES = 3

SpaceName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A name that `autopeft spaces` lists, or a .yaml file of your own."),
]
Model = Annotated[
    str,
    typer.Option(help=MODEL_HELP, metavar="MODEL"),
]
Seed = Annotated[int, typer.Option(help="Of the draws.", metavar="N")]


def command(
    context: typer.Context,
    presets: Annotated[bool, typer.Option("--presets", help="List the presets alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the search spaces and the presets, which are single designs; a .yaml file of your own works by its path.

    The commands below look into one of them.
    """
    if context.invoked_subcommand is not None:
        if presets or as_json:
            raise typer.BadParameter(f"options go after {context.invoked_subcommand}")
        return
    import json

    from rich.console import Console

    from autopeft.cli.tables import print_table

    if as_json:
        shown = _presets() if presets else _spaces()
        print(json.dumps([_entry(name, document) for name, document in shown.items()], indent=2))
        return
    console = Console()
    if not presets:
        rows = [(name, space.summary, ", ".join(space.modules), space.source) for name, space in _spaces().items()]
        print_table("Search spaces", ("space", "what is searched", "modules", "source"), rows, console)
    rows = [(name, preset.title, preset.summary, preset.source) for name, preset in _presets().items()]
    print_table(
        "Presets: one design each", ("space", "design", "what it is", "source"), rows, console, whole=("space",)
    )
    print("Use one: autopeft search --space lora, or --space preset:mam. More of one: autopeft spaces show lora")


def show(
    name: SpaceName,
    model: Model = DEFAULT.model,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Show a space on a model: its dimensions, how large it is, and three samples drawn as layers by modules."""
    import json

    from rich.console import Console

    from autopeft.cli.space_report import bind, draw_samples, to_dict

    space = bind(name, model)
    samples = draw_samples(space, SAMPLES, seed)
    if as_json:
        print(json.dumps(to_dict(space, model, samples), indent=2))
        return
    console = Console()
    _print_facts(space, model, console)
    _print_dimensions(space, console)
    _print_drawings(space, samples, console)


def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .yaml file, or a name of `autopeft spaces`.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Check it on this model too: minilm, a folder, or a hub id.", metavar="MODEL", show_default="none"
        ),
    ] = None,
) -> None:
    """Check a search space: say that it is good, or list every mistake with its path in the file.

    With --model also whether the model has a place for it all, and how large the space is there.
    """
    if model is None:
        from autopeft.space import load_document

        load_document(file)
        print(f"{file}: good by itself; --model MODEL checks it on a model too")
        return
    from autopeft.cli.space_report import bind, measure

    space = bind(file, model)
    extent = measure(space)
    print(f"{file}: good on {model}: {_points(extent)}, {_size(space, extent)}")


def sample(
    name: SpaceName,
    model: Model = DEFAULT.model,
    number: Annotated[int, typer.Option("--number", "-n", help="How many.", min=1, metavar="N")] = 5,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw architectures from a space at random, the same ones every time for a seed."""
    import json

    from rich.console import Console

    from autopeft.cli.space_report import bind, draw_samples, presets_on
    from autopeft.cli.tables import print_table

    space = bind(name, model)
    samples = draw_samples(space, number, seed)
    if as_json:
        print(json.dumps([drawn.to_dict() for drawn in samples], indent=2))
        return
    presets = presets_on(space)
    rows = [
        (
            f"{drawn.params:,}",
            f"{drawn.params_percent:.3f}",
            drawn.architecture.summary(),
            drawn.architecture.fingerprint,
            presets.get(drawn.architecture, ""),
        )
        for drawn in samples
    ]
    headings = ("params", "%", "architecture", "fingerprint", "preset")
    print_table("", headings, rows, Console(), whole=("params", "%", "fingerprint", "preset"))


SUBCOMMANDS = {"show": show, "check": check, "sample": sample}


def _spaces() -> dict[str, SpaceDocument]:
    from autopeft.space import load_document, space_names

    return {name: load_document(name) for name in space_names()}


def _presets() -> dict[str, SpaceDocument]:
    from autopeft.space import load_document, preset_names
    from autopeft.space.load import PRESET

    return {PRESET + name: load_document(PRESET + name) for name in preset_names()}


def _entry(name: str, document: SpaceDocument) -> dict[str, Any]:
    modules = sorted(document.modules)
    return {"name": name, "summary": document.summary, "source": document.source, "modules": modules}


def _print_facts(space: SearchSpace, model: str, console: Console) -> None:
    from autopeft.cli.drawing import printable
    from autopeft.cli.space_report import measure, presets_in

    extent = measure(space)
    presets = [name for name in presets_in(space) or () if name != space.name]
    lines = [
        f"{space.name}: {space.document.summary}",
        f"source: {space.document.source}" if space.document.source else "",
        f"model: {model}, {space.geometry.layers} layers, {space.base_parameters:,} parameters",
        f"size: {_points(extent)}, {_size(space, extent)}",
        f"presets that are points of it: {', '.join(presets)}" if presets else "",
    ]
    for line in filter(None, lines):
        console.print(printable(line, console), markup=False, highlight=False, emoji=False)


def _print_dimensions(space: SearchSpace, console: Console) -> None:
    from autopeft.cli.dimensions import fold
    from autopeft.cli.drawing import printable
    from autopeft.cli.tables import print_table

    rows = [
        (printable(row.name, console), row.count, printable(row.values, console)) for row in fold(space.dimensions)
    ]
    if rows:
        print_table("", ("dimension", "number", "values"), rows, console)


def _print_drawings(space: SearchSpace, samples: list[Sample], console: Console) -> None:
    from autopeft.cli.drawing import printable
    from autopeft.drawing import draw
    from autopeft.plots.wording import percent_text

    different = {drawn.architecture: drawn for drawn in samples}
    picture = draw(list(different), space.geometry, console.width)
    lines = []
    for number, drawn in enumerate(different.values(), start=1):
        percent = percent_text(drawn.params_percent)
        lines += ["", f"sample {number}: {drawn.params:,} parameters ({percent})", *_settings(drawn.architecture)]
        lines += picture.drawings[number - 1]
    if picture.legend:
        lines += ["", f"sites: {picture.legend}"]
    for line in lines:
        console.print(printable(line, console), markup=False, highlight=False, emoji=False)


def _settings(architecture: Architecture) -> Iterator[str]:
    """Yield what the drawing does not show."""
    options: dict[str, dict[str, None]] = {}
    for placement in architecture.placements:
        for option, value in placement.options:
            options.setdefault(f"{placement.module} {option}", {})[_value(value)] = None
    settings = [f"{name} {' or '.join(values)}" for name, values in options.items()]
    settings += [f"{name} {_value(value)}" for name, value in architecture.training]
    settings += [f"base model in {architecture.quantisation}"] * (architecture.quantisation != "none")
    if settings:
        yield ", ".join(settings)


def _value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _points(extent: Extent) -> str:
    import math

    if math.isinf(extent.points):
        return "infinitely many points"
    if extent.points == 1:
        return "a single point"
    points = f"{extent.points:,}" if extent.points < 1e12 else f"about 10^{round(math.log10(extent.points))}"
    different = "" if extent.architectures is None else f", {extent.architectures:,} different architectures"
    return f"{points} points{different}"


def _size(space: SearchSpace, extent: Extent) -> str:
    from autopeft.cli.space_report import percent
    from autopeft.plots.wording import percent_text

    if space.budget is not None:
        return f"{space.budget:,} parameters each ({percent_text(percent(space, space.budget))}), within 2%"
    shares = [percent_text(percent(space, params)) for params in (extent.least, extent.most)]
    if extent.least == extent.most:
        return f"{extent.least:,} parameters ({shares[0]})"
    return f"{extent.least:,} to {extent.most:,} parameters ({' to '.join(shares)})"
