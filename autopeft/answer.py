"""What a search has found: the front beside the baselines, on confirmed means where there are any."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autopeft.architecture import Architecture
from autopeft.baselines import HEAD_ONLY
from autopeft.budget import parse_params
from autopeft.errors import InvalidInput, NoFeasibleArchitecture, NotFound, Problem
from autopeft.messages import SearchState, TrialReport
from autopeft.objectives import measures
from autopeft.pareto import cost_axis, front_of, hypervolume, knee
from autopeft.trial import Trial

PICKS = ("best", "knee", "smallest")


@dataclass(frozen=True)
class Row:
    """One architecture with its evidence.

    Attributes:
        trial: number of its trial.
        name: the baseline's name, else a summary of the architecture.
        score: mean over seeds on the validation split if confirmed, else the proxy's held-out score.
        score_std: sample standard deviation over seeds; None with fewer than two.
        seeds: runs that the score is the mean of.
        baseline: whether it is hand-made.
        seconds: wall time of its proxy run.
        run_seeds: of the runs that the score is the mean of, if it is confirmed.
        measures: what it came to in the further objectives: its proxy run, or the mean of its confirmation runs.
    """

    trial: int
    name: str
    params: int
    params_percent: float
    score: float
    score_std: float | None
    seeds: int
    confirmed: bool
    architecture: Architecture
    baseline: bool
    seconds: float
    measures: Mapping[str, float] = field(default_factory=dict)
    run_seeds: tuple[int, ...] = ()

    @property
    def point(self) -> tuple[float, float]:
        """Cost and score, as the front sees them."""
        return cost_axis(self.params), self.score

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            "trial": self.trial,
            "name": self.name,
            "params": self.params,
            "params_percent": self.params_percent,
            "score": self.score,
            "score_std": self.score_std,
            "seeds": self.seeds,
            "confirmed": self.confirmed,
            **({"measures": dict(self.measures)} if self.measures else {}),
            "fingerprint": self.architecture.fingerprint,
            "architecture": self.architecture.to_dict(),
        }


@dataclass(frozen=True)
class Answer:
    """The result of a search, or of as much of it as there is.

    Attributes:
        front: non-dominated rows by ascending parameters, baselines among them.
        baselines: every hand-made row.
        others: searched rows that are not on the front; where the front is confirmed they are mostly not, and carry
            their proxy scores.
        confirmed: whether scores are confirmed means on the validation split.
        base_parameters: of the base model; the front's reference cost.
        objectives: names of what the front minimises beside the parameters.
    """

    search: str
    name: str
    state: SearchState
    metric: str
    front: tuple[Row, ...]
    baselines: tuple[Row, ...]
    others: tuple[Row, ...]
    confirmed: bool
    base_parameters: int
    objectives: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the front and the baselines as JSON values."""
        return {
            "search": self.search,
            "name": self.name,
            "state": self.state,
            "metric": self.metric,
            "front": [row.to_dict() for row in self.front],
            "baselines": [row.to_dict() for row in self.baselines],
            "hypervolume": self.hypervolume,
            "baseline_hypervolume": self.baseline_hypervolume,
        }

    @property
    def reference(self) -> tuple[float, float]:
        """Cost of full fine-tuning, and the head-only score (else the least score there is of the front's kind)."""
        rows = [row for row in (*self.front, *self.baselines, *self.others) if row.confirmed == self.confirmed]
        head_only = [row.score for row in self.baselines if row.name == HEAD_ONLY]
        score = head_only[0] if head_only else min((row.score for row in rows), default=0.0)
        return cost_axis(self.base_parameters), score

    @property
    def hypervolume(self) -> float:
        """Area that front and baselines dominate, in log10(1 + params) times score above head only."""
        return hypervolume([row.point for row in (*self.front, *self.baselines)], self.reference)

    @property
    def baseline_hypervolume(self) -> float:
        """Area that the baselines alone dominate."""
        return hypervolume([row.point for row in self.baselines], self.reference)

    def pick(self, choice: str) -> Row:
        """Return one row: ``best``, ``knee``, ``smallest``, a trial's number, or the best of ``params<=LIMIT``.

        Head only is not picked while the front has anything else, as it has no module to export.

        Raises:
            InvalidInput: the choice is none of these.
            NotFound: no row has that trial number.
            NoFeasibleArchitecture: the front is empty, or nothing on it meets the limit.
        """
        if choice.isdecimal():
            return self._by_trial(int(choice))
        candidates = [row for row in self.front if row.params] or list(self.front)
        limit = re.fullmatch(r"params\s*<=\s*(.+)", choice.strip())
        if limit:
            cap = parse_params("pick", limit[1], self.base_parameters)
            candidates = [row for row in candidates if row.params <= cap]
        elif choice not in PICKS:
            remedy = f"use {', '.join(PICKS)}, a trial's number, or 'params<=0.5%'"
            raise InvalidInput(Problem("pick", choice, remedy))
        if not candidates:
            raise NoFeasibleArchitecture(f"the front of search {self.name!r} has no architecture for {choice!r}")
        if choice == "smallest":
            return candidates[0]
        if choice == "knee":
            return candidates[knee([row.point for row in candidates]) or 0]
        return max(candidates, key=lambda row: row.score)

    def _by_trial(self, number: int) -> Row:
        for row in (*self.front, *self.baselines, *self.others):
            if row.trial == number:
                return row
        raise NotFound(f"search {self.name!r} has no finished trial {number}")


def make_answer(
    *,
    search: str,
    name: str,
    state: SearchState,
    facts: Mapping[str, Any],
    trials: Sequence[Trial],
    confirmations: Mapping[tuple[str, int], TrialReport],
    objectives: tuple[str, ...] = (),
) -> Answer:
    """Assemble the answer from a search's trials and confirmation runs.

    Once anything is confirmed, the front is made of confirmed rows alone: a proxy's held-out score and a confirmed
    mean on other rows are not comparable.
    """
    base = int(facts["base_parameters"])
    proxies = [_proxy_row(trial, base) for trial in trials if trial.score is not None]
    confirmed = [row for row in (_confirmed_row(p, confirmations, objectives) for p in proxies) if row is not None]
    rows = confirmed or proxies
    there = {row.trial for row in rows}
    points = [(*row.point, *(row.measures[name] for name in objectives)) for row in rows]
    on_front = [rows[index] for index in front_of(points)]
    return Answer(
        search=search,
        name=name,
        state=state,
        metric=str(facts["metric"]),
        front=tuple(on_front),
        baselines=tuple(row for row in rows if row.baseline),
        others=tuple(
            row
            for row in (*rows, *(proxy for proxy in proxies if proxy.trial not in there))
            if not row.baseline and row not in on_front
        ),
        confirmed=bool(confirmed),
        base_parameters=base,
        objectives=objectives,
    )


def _proxy_row(trial: Trial, base_parameters: int) -> Row:
    assert trial.score is not None, "only trials with a score make rows"
    return Row(
        trial=trial.number,
        name=trial.name or trial.architecture.summary(),
        params=trial.params,
        params_percent=round(100 * trial.params / base_parameters, 4),
        score=trial.score,
        score_std=None,
        seeds=1,
        confirmed=False,
        architecture=trial.architecture,
        baseline=bool(trial.name),
        seconds=trial.seconds,
        measures=trial.measures,
    )


def _confirmed_row(
    row: Row, confirmations: Mapping[tuple[str, int], TrialReport], objectives: tuple[str, ...]
) -> Row | None:
    by_seed = {
        seed: report
        for (fingerprint, seed), report in sorted(confirmations.items(), key=lambda item: item[0])
        if fingerprint == row.architecture.fingerprint and report.state == "complete"
    }
    runs = list(by_seed.values())
    if not runs:
        return None
    scores = [report.scores["validation"] for report in runs]
    found = [measures(report, objectives) for report in runs]
    return replace(
        row,
        score=statistics.fmean(scores),
        score_std=statistics.stdev(scores) if len(scores) > 1 else None,
        seeds=len(scores),
        confirmed=True,
        measures={name: statistics.fmean(one[name] for one in found) for name in objectives},
        run_seeds=tuple(by_seed),
    )
