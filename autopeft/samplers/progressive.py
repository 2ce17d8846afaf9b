"""Progressive search in a design space (Chen et al. 2023, arXiv 2301.01821): one question after another.

Grouping, allocation, tunable groups, then the strategy of each group in turn. For every answer to a question some
architectures are drawn that give it, keep the answers found before and are random in the rest, all of the same number
of parameters; the answer of the best mean score is kept.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autopeft.architecture import Scalar
from autopeft.errors import NoFeasibleArchitecture, Problem
from autopeft.evidence import STAGES_FILE, Stage, StageAnswer, Stages, to_json
from autopeft.samplers.base import WAIT, Proposal, Sampler, Setting, Step
from autopeft.space import Choice, Point, SearchSpace
from autopeft.storage import write_atomically
from autopeft.trial import Trial

# Samples of each answer where time, not trials, bounds the search.
SAMPLES = 4
DRAWS = 300


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: for people.
        dimensions: their values answer it.
        group: that it is about; 0 where it is about all.
    """

    name: str
    dimensions: tuple[Choice, ...]
    group: int = 0

    def answers(self) -> Iterator[Point]:
        """Yield every joint choice of the dimensions."""
        names = [dimension.name for dimension in self.dimensions]
        for values in itertools.product(*(dimension.choices for dimension in self.dimensions)):
            yield dict(zip(names, values, strict=True))


@dataclass(frozen=True)
class Sampled:
    """An answer and the architectures drawn for it."""

    answer: Point
    proposals: tuple[Proposal, ...]


class Progressive:
    """The chooser of one search. It keeps no state but the trials: all that it draws follows from the seed."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stages = stages(setting.space)
        self._known = {trial.architecture.fingerprint: trial for trial, _ in setting.past}
        self._samples = samples(setting)
        self._progress = _Progress()

    def propose(self) -> Step:
        """Return the next architecture of the stage, wait for its last ones, or go on to the next stage.

        Raises:
            NoFeasibleArchitecture: no answer to a question meets the caps.
        """
        while self._progress.stage < len(self._stages):
            if self._is_moot(self._stages[self._progress.stage]):
                self._progress.stage += 1
                continue
            sampled = self._sampled()
            for proposal in (proposal for answer in sampled for proposal in answer.proposals):
                if proposal.architecture.fingerprint not in self._known:
                    return proposal
            if any(trial.state == "running" for answer in sampled for trial in self._trials(answer)):
                return WAIT
            self._decide(sampled)
        return None

    def see(self, trial: Trial, token: Any) -> None:
        """Take note of a trial's score."""
        self._known[trial.architecture.fingerprint] = trial

    def _is_moot(self, stage: Question) -> bool:
        """Whether the stage asks for the strategy of a group that was found not to take part."""
        return self._progress.answers.get(f"groups.tune.g{stage.group}") is False

    def _sampled(self) -> list[Sampled]:
        stage = self._stages[self._progress.stage]
        if self._progress.sampled is None:
            drawn = [Sampled(answer, tuple(self._draw(stage, answer))) for answer in stage.answers()]
            self._progress.sampled = [answer for answer in drawn if answer.proposals]
            if not self._progress.sampled:
                raise NoFeasibleArchitecture(f"no answer to {stage.name!r} meets the budget and the caps")
        return self._progress.sampled

    def _draw(self, stage: Question, answer: Point) -> Iterator[Proposal]:
        """Yield architectures that differ, give the answer and keep the answers found before."""
        space, found = self._setting.space, set()
        rng = random.Random(f"{self._setting.seed} {stage.name} {sorted(answer.items())}")
        for _ in range(DRAWS):
            drawn = {dimension.name: dimension.sample(rng) for dimension in space.dimensions}
            point = {**drawn, **self._progress.answers, **answer}
            admitted = self._setting.admitted(point)
            if admitted is None or admitted[0].fingerprint in found:
                continue
            found.add(admitted[0].fingerprint)
            yield Proposal(point, *admitted)
            if len(found) == self._samples:
                return

    def _trials(self, answer: Sampled) -> list[Trial]:
        return [self._known[proposal.architecture.fingerprint] for proposal in answer.proposals]

    def _decide(self, sampled: Sequence[Sampled]) -> None:
        stage = self._stages[self._progress.stage]
        rows = [_row(answer.answer, self._trials(answer)) for answer in sampled]
        means = {index: row.mean for index, row in enumerate(rows) if row.mean is not None}
        if not means:
            raise NoFeasibleArchitecture(f"every run of the stage {stage.name!r} failed")
        best = max(means, key=lambda index: means[index])
        self._progress.answers.update(sampled[best].answer)
        self._progress.evidence.append(Stage(stage.name, tuple(rows), best))
        self._progress.sampled = None
        self._progress.stage += 1
        found = Stages(self._samples, tuple(self._progress.evidence), self._progress.answers)
        write_atomically(self._setting.folder / STAGES_FILE, to_json(found))


@dataclass
class _Progress:
    """How far a search is."""

    stage: int = 0
    answers: dict[str, Scalar] = field(default_factory=dict)
    evidence: list[Stage] = field(default_factory=list)
    sampled: list[Sampled] | None = None


def stages(space: SearchSpace) -> list[Question]:
    """Return the questions of a space in their order; those that it does not leave open are left out."""
    choices = [dimension for dimension in space.dimensions if isinstance(dimension, Choice)]

    def named(name: str, *beginnings: str, end: str = "") -> Question:
        return Question(name, tuple(c for c in choices if c.name.startswith(beginnings) and c.name.endswith(end)))

    groups = max(space.document.groups.counts) if space.document.groups else 0
    modules = tuple(f"{module}.on.g" for module in space.document.modules)
    asked = [
        named("grouping", "groups.count", "groups.pattern"),
        named("allocation", "allocation"),
        named("tunable groups", "groups.tune."),
        *(
            replace(named(f"strategy of group {group}", *modules, end=f".g{group}"), group=group)
            for group in range(1, groups + 1)
        ),
    ]
    return [stage for stage in asked if stage.dimensions]


def samples(setting: Setting) -> int:
    """Return how many architectures are drawn for each answer."""
    return SAMPLES if setting.trials is None else max(1, setting.trials // _answers(stages(setting.space)))


def _answers(asked: Sequence[Question]) -> int:
    # Of switches at least one is on, but in the strategy of a group that does not take part.
    return sum(sum(1 for answer in stage.answers() if any(answer.values())) for stage in asked)


def _row(answer: Point, trials: Sequence[Trial]) -> StageAnswer:
    scores = [trial.score for trial in trials if trial.score is not None]
    return StageAnswer(
        answer=dict(answer),
        label=label(answer),
        mean=statistics.fmean(scores) if scores else None,
        std=statistics.stdev(scores) if len(scores) > 1 else None,
        scores=tuple(scores),
        trials=tuple(trial.number for trial in trials),
    )


def label(answer: Mapping[str, Scalar]) -> str:
    """Return an answer in few words: ``spindle``, ``groups 1 2 3``, ``adapter + lora``."""
    on = [name for name, value in answer.items() if value is True]
    if all(isinstance(value, bool) for value in answer.values()):
        if any(name.startswith("groups.tune.") for name in answer):
            groups = [name.removeprefix("groups.tune.g") for name in on]
            return f"group{'s' * (len(groups) > 1)} {' '.join(groups)}"
        return " + ".join(name.split(".on.")[0] for name in on) or "nothing"
    return ", ".join(str(value) for value in answer.values())


def _problems(setting: Setting) -> Iterator[Problem]:
    space = setting.space
    asked = stages(space)
    answered = {dimension.name for stage in asked for dimension in stage.dimensions}
    rest = [dimension.name for dimension in space.dimensions if dimension.name not in answered]
    if not asked:
        yield Problem("space", space.name, "progressive needs groups with something to choose; try design_spaces")
        return
    if rest:
        remedy = f"progressive decides groups, allocation and strategies alone; fix {', '.join(rest[:5])}"
        yield Problem("space", space.name, remedy)
    if space.budget is None:
        remedy = "progressive compares architectures of equal parameters; add budget to the space"
        yield Problem("space", space.name, remedy)
    if setting.trials is not None and setting.trials < (least := _answers(asked)):
        left = f"leaves {setting.trials} trials for the space"
        remedy = f"{left}, and progressive tries up to {least} answers, each once at least"
        yield Problem("budget", None, remedy)


SAMPLER = Sampler(
    summary="one question after another: grouping, allocation, tunable groups, strategy of each group",
    source="Chen et al. 2023, arXiv 2301.01821",
    choose=Progressive,
    check=_problems,
    needs_scores=True,
)
