"""What Optuna's dashboard shows of a search beside its own plots: notes with drawings, and our plots as graphs.

The dashboard renders notes as Markdown with HTML in it, so whatever people have named is escaped for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import optuna
import structlog
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from autopeft.answer import PICKS, Answer, Row
from autopeft.base_models import describe_model
from autopeft.drawing import draw
from autopeft.geometry import ModelGeometry
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.stored import read_answer
from autopeft.trial import Trial, opened_storage, read_trials

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Notes lie with the study, which is read as a whole: a larger one has notes on its best trials alone.
MOST_TRIALS = 200
DRAWING_WIDTH = 100
FRONT_GRAPH, HISTORY_GRAPH = "autopeft-front", "autopeft-hypervolume"
MOST_POINTS = 1000  # of a graph
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$:>-])")
log = structlog.get_logger("autopeft.study_notes")


def write_notes(store: Store, settings: Settings, record: SearchRecord) -> None:
    """Write the notes and graphs of a search as it stands, in place of earlier ones.

    What goes wrong is logged and not raised: a search is worth more than what is noted of it.
    """
    try:
        with opened_storage(settings.database_url) as storage:
            _write(store, storage, record)
    except Exception as error:
        log.warning("no notes for Optuna's dashboard", search=record.id, error=repr(error))


def _write(store: Store, storage: BaseStorage, record: SearchRecord) -> None:
    # Needed at the end of a search alone, and with plotly, which takes seconds to load.
    from optuna_dashboard import save_note, save_plotly_graph_object  # noqa: PLC0415

    trials = read_trials(storage, record.name)
    if not trials:
        return
    study = optuna.load_study(study_name=record.name, storage=storage, sampler=RandomSampler())
    answer = read_answer(store, record.id, trials)
    save_note(study, study_note(record, answer, trials))
    for name, figure in _graphs(store, record, answer):
        save_plotly_graph_object(study, figure, graph_object_id=name)
    geometry = describe_model(record.spec.model).geometry
    rows = {row.trial: row for row in (*answer.others, *answer.baselines, *answer.front)}
    identities = {frozen.number: frozen._trial_id for frozen in study.get_trials(deepcopy=False)}
    for trial in _noted(trials, answer):
        note = trial_note(trial, rows.get(trial.number), geometry, answer.metric)
        save_note(optuna.Trial(study, identities[trial.number]), note)


def study_note(record: SearchRecord, answer: Answer, trials: Sequence[Trial]) -> str:
    """Return what was asked and what came out, as Markdown."""
    return "\n".join([*_asked(record), "", *_came_out(record, answer, trials)])


def trial_note(trial: Trial, row: Row | None, geometry: ModelGeometry, metric: str) -> str:
    """Return a trial's drawing and what became of it, as Markdown.

    Args:
        trial: of the study.
        row: of the search's answer, if the trial has one.
        geometry: of the base model.
        metric: name of the score.
    """
    (drawing,) = draw([trial.architecture], geometry, DRAWING_WIDTH).drawings
    lines = [f"**{_plain(trial.name or trial.architecture.summary())}**, {trial.params:,} trainable parameters", ""]
    if row is not None:
        lines += [f"{_plain(metric)} {_evidence(row)}", ""]
    if trial.reason:
        lines += [": ".join(_plain(part) for part in (trial.reason, trial.detail) if part), ""]
    lines += ["```text", *drawing, "```"] if trial.architecture.placements else ["No modules: the head alone."]
    return "\n".join(lines)


def _graphs(store: Store, record: SearchRecord, answer: Answer) -> Iterator[tuple[str, go.Figure]]:
    from autopeft.study_graphs import front_figure, history_figure  # noqa: PLC0415 - plotly

    if answer.front:
        yield FRONT_GRAPH, front_figure(answer)
    if points := list(_history(store, record)):
        yield HISTORY_GRAPH, history_figure(points, record.name)


def _history(store: Store, record: SearchRecord) -> Iterator[tuple[float, float]]:
    for event in store.events.spread(record.id, "progress", MOST_POINTS):
        if event.body["phase"] == "search":
            yield event.body["seconds"], event.body["hypervolume"]


def _noted(trials: Sequence[Trial], answer: Answer) -> list[Trial]:
    """Return the trials that get a note: all, or the front, the baselines and the best of the others."""
    first = {row.trial for row in (*answer.front, *answer.baselines)}
    ended = [trial for trial in trials if trial.state != "running"]
    ranked = sorted(ended, key=lambda trial: (trial.number not in first, trial.score is None, -(trial.score or 0.0)))
    return ranked[:MOST_TRIALS]


def _asked(record: SearchRecord) -> list[str]:
    spec, facts = record.spec, record.facts
    caps = [f"{name} {limit}" for name, limit in spec.caps.items()]
    rows = ", ".join(f"{part} {count:,}" for part, count in facts["rows"].items())
    pairs = (
        ("model", f"{spec.model}, {facts['base_parameters']:,} parameters"),
        ("task", f"{spec.task.name}, {facts['kind']} by {facts['metric']}; rows: {rows}"),
        ("space", spec.space),
        ("sampler", spec.sampler),
        ("budget", spec.budget),
        ("objectives", ", ".join(spec.objectives)),
        ("caps", ", ".join([f"params {spec.max_params}"] * bool(spec.max_params) + caps) or "none"),
        ("confirmation", f"{spec.confirm} seeds" if spec.confirm else "none"),
    )
    return [f"## {_plain(record.name)}", "", *_table(("asked for", ""), pairs)]


def _came_out(record: SearchRecord, answer: Answer, trials: Sequence[Trial]) -> list[str]:
    ends = {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}
    counts = ", ".join(f"{number} {state}" for state, number in ends.items() if number)
    detail = f": {_plain(record.detail)}" if record.detail else ""
    lines = [f"State **{record.state}**{detail}, {counts or 'no'} trials, {record.seconds:,.0f} s of work.", ""]
    if not answer.front:
        return [*lines, "No trial has a score yet."]
    picks = {choice: answer.pick(choice).trial for choice in PICKS}
    seen = {row.trial for row in answer.front}
    rows = [*answer.front, *(row for row in answer.baselines if row.trial not in seen)]
    gained = f"{answer.hypervolume:.4f}, of the baselines alone {answer.baseline_hypervolume:.4f}"
    headings = ("trial", "architecture", "on the front", "parameters", "of the model", answer.metric)
    cells = (
        (
            row.trial,
            row.name,
            ", ".join(["yes"] * (row.trial in seen) + [name for name, trial in picks.items() if trial == row.trial]),
            f"{row.params:,}",
            f"{row.params_percent:.2f} %",
            _evidence(row),
        )
        for row in rows
    )
    return [*lines, "### Front and baselines", "", *_table(headings, cells), "", f"Hypervolume {gained}."]


def _evidence(row: Row) -> str:
    if not row.confirmed:
        return f"{row.score:.4f} (proxy)"
    spread = "" if row.score_std is None else f" ± {row.score_std:.4f}"
    return f"{row.score:.4f}{spread} over {row.seeds} {'seed' if row.seeds == 1 else 'seeds'}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield _line(headings)
    yield _line(["---"] * len(headings), as_is=True)
    for row in rows:
        yield _line(row)


def _line(cells: Iterable[object], as_is: bool = False) -> str:
    return f"| {' | '.join(str(cell) if as_is else _plain(str(cell)) for cell in cells)} |"


def _plain(text: str) -> str:
    """Return a text that neither Markdown nor HTML takes for anything else, on one line."""
    return _MARKS.sub(r"\\\1", escape(" ".join(text.split()), quote=False))
