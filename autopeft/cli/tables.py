"""Tables on the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autopeft.answer import Answer, Row
from autopeft.objectives import OBJECTIVES


def print_answer(answer: Answer, console: Console) -> None:
    """Print the front, and the baselines beside it."""
    evidence = "confirmed on the validation split" if answer.confirmed else "proxy scores, not confirmed"
    front = {row.trial for row in answer.front}
    if not answer.front:
        console.print(f"Search {answer.name}: {answer.state}, and no trial has a score yet.", markup=False)
        return
    picks: dict[int, list[str]] = {}
    for choice in ("best", "knee"):
        picks.setdefault(answer.pick(choice).trial, []).append(choice)
    title = f"Pareto front of {escape(answer.name)}: {answer.metric}, {evidence}"
    console.print(_rows(title, answer, answer.front, lambda row: ", ".join(picks.get(row.trial, []))))
    if answer.baselines:
        place = {row.trial: "on the front" if row.trial in front else "dominated" for row in answer.baselines}
        console.print(_rows("Baselines", answer, answer.baselines, lambda row: place[row.trial]))
    if answer.baseline_hypervolume > 0:
        ratio = answer.hypervolume / answer.baseline_hypervolume
        console.print(
            f"Hypervolume {answer.hypervolume:.3f}, {ratio:.2f} times that of the baselines alone "
            f"({answer.baseline_hypervolume:.3f})."
        )


def _rows(title: str, answer: Answer, rows: Iterable[Row], note: Callable[[Row], str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading, right in (("trial", True), ("params", True), ("%", True), ("score", True), ("seeds", True)):
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for name in answer.objectives:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("architecture", overflow="fold")
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.trial),
            f"{row.params:,}",
            f"{row.params_percent:.3f}",
            score_text(row),
            str(row.seeds),
            *(OBJECTIVES[name].text(row.measures[name]) for name in answer.objectives),
            escape(row.name),
            note(row),
        )
    return table


def score_text(row: Row) -> str:
    """Return a row's score, with its deviation where there is one."""
    return f"{row.score:.4f}" if row.score_std is None else f"{row.score:.4f} ± {row.score_std:.4f}"


def time_text(seconds: float) -> str:
    """Return a time, in seconds since 1970, by this machine's clock and to the minute."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


class Described(Protocol):
    """An implementation that says what it is."""

    @property
    def summary(self) -> str:
        """One line for people."""

    @property
    def source(self) -> str:
        """Paper or library."""


def print_implementations(kind: str, found: Mapping[str, Described], as_json: bool) -> None:
    """Print the implementations of a registry, as a table or as JSON."""
    if as_json:
        print(json.dumps([{"name": n, "summary": o.summary, "source": o.source} for n, o in found.items()], indent=2))
        return
    rows = [(name, one.summary, one.source) for name, one in found.items()]
    print_table("", (kind, "what it does", "source"), rows, Console())


def print_table(
    title: str,
    headings: Iterable[str],
    rows: Iterable[Iterable[object]],
    console: Console,
    whole: Collection[str] = (),
) -> None:
    """Print a plain table; cells under the headings in ``whole`` are never broken over lines."""
    table = Table(title=title or None, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in whole)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)
