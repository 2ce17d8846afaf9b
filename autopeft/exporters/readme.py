"""The ``README.md`` beside a recipe in all formats: what to type for each, and what the others lack."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.opened import Opened


def describe_exports(
    opened: Opened, exporters: Mapping[str, Exporter], found: Mapping[str, Fit], written: Collection[str]
) -> str:
    """Return the text.

    Args:
        opened: what was written.
        exporters: every format by name.
        found: how the recipe fits into each.
        written: names of the formats that have a folder.
    """
    recipe, task = opened.recipe, opened.recipe.task
    lines = [
        f"# {recipe.name}",
        "",
        f"`{recipe.architecture.summary()}` on `{recipe.base_model.name}` for the task `{task.name}`: "
        f"{recipe.scores.metric} {recipe.scores.mean:.4f} on the {recipe.scores.split} rows, "
        f"{recipe.counts.params:,} trainable parameters without the task head.",
    ]
    for name in written:
        exporter = exporters[name]
        lines += [
            "",
            f"## {name}",
            "",
            f"This is {exporter.summary}. Written for {exporter.tool}.",
            "",
        ]
        usage = exporter.usage.format(outputs=len(task.labels) or 1, model=opened.location)
        lines += ["```sh", f"cd {name}", usage, "```"]
        lines += _listed("What it loses:", found[name].losses)
    others = [name for name in exporters if name not in written]
    if others:
        lines += ["", "## Formats that do not hold it"]
    for name in others:
        lines += _listed(f"`{name}` ({exporters[name].tool}):", found[name].reasons)
    return "\n".join(lines) + "\n"


def _listed(title: str, reasons: Collection[str]) -> list[str]:
    return ["", title, "", *(f"- {reason}" for reason in reasons)] if reasons else []
