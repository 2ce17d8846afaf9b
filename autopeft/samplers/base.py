"""The contract of a sampler: it chooses what a search tries next.

Most samplers ask an Optuna sampler, point by point (:mod:`autopeft.samplers.asking`). Others follow a plan of their
own, as a structure search by gradients or a search in stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from autopeft.architecture import Architecture
from autopeft.errors import Problem
from autopeft.messages import GateSettings, GateTraining, TrialReport
from autopeft.samplers.experience import Experience, shipped
from autopeft.space import Point, SearchSpace
from autopeft.trial import Trial


@dataclass(frozen=True)
class Proposal:
    """A point that is to be trained.

    Attributes:
        token: whatever the chooser needs to know again when the trial is finished.
    """

    point: Point
    architecture: Architecture
    params: int
    token: Any = None


@dataclass(frozen=True)
class Errand:
    """A run on a worker that a chooser needs before it can propose: a structure search.

    Attributes:
        key: unique in the search.
        architecture: of every placement that has a gate.
        gates: how the gates are trained.
        receive: takes the report; the chooser proposes from it afterwards.
    """

    key: str
    architecture: Architecture
    gates: GateSettings
    receive: Callable[[TrialReport], None]


Wait = Literal["wait"]
WAIT: Wait = "wait"
Step = Proposal | Errand | Wait | None

Admit = Callable[[Architecture], "tuple[Architecture, int] | None"]


@dataclass(frozen=True)
class Setting:
    """What a chooser chooses in.

    Attributes:
        space: what points are made of.
        seed: of everything random.
        admit: maps a decoded architecture to its normal form and parameters, or None where a cap forbids it.
        past: the trials of earlier runs of the search, each with its point; that of a trial that was given, as a
            baseline is, has no entries.
        earlier: what other searches found out under the same conditions.
        experience: what is known of architectures from other tasks.
        cap: most trainable parameters; what is above it is not admitted.
        objectives: names of what is minimised beside the parameters.
        trials: how many points of the space the search's budget allows; None where time decides.
        param_budgets: numbers of trainable parameters that were asked for.
        gates: how gates are to be trained.
        folder: for files that a chooser keeps, as the evidence for what it chose.
    """

    space: SearchSpace
    seed: int
    admit: Admit
    past: Sequence[tuple[Trial, Point]] = ()
    earlier: Sequence[Trial] = ()
    experience: Experience = field(default_factory=shipped)
    cap: int | None = None
    objectives: tuple[str, ...] = ()
    trials: int | None = None
    param_budgets: tuple[int, ...] = ()
    gates: GateTraining = GateTraining()
    folder: Path = field(default_factory=Path)

    def admitted(self, point: Point) -> tuple[Architecture, int] | None:
        """Return a point's architecture and parameters, or None where it decodes to nothing or a cap forbids it."""
        decoded = self.space.decode(point)
        return None if decoded is None else self.admit(decoded)


class Chooser(Protocol):
    """Chooses what is tried next, and is shown what became of it."""

    def propose(self) -> Step:
        """Return what to do next: train a point, run an errand, wait for what runs, or nothing more at all.

        Raises:
            NoFeasibleArchitecture: nothing that it can find meets the caps.
        """

    def see(self, trial: Trial, token: Any) -> None:
        """Take note of a trial that was started or finished.

        Args:
            trial: a baseline's too.
            token: of its proposal; None for a baseline, and for a trial that an earlier run proposed.
        """


def _no_problem(setting: Setting) -> Iterable[Problem]:
    return ()


@dataclass(frozen=True)
class Sampler:
    """One way to choose.

    Attributes:
        summary: one line for people.
        source: paper or library.
        choose: makes the chooser of one search.
        check: yields what a search with this sampler needs and does not have, before it starts.
        takes_more_objectives: whether it can minimise more than the parameters.
        needs_scores: whether it needs the score of every trial, so that none may be stopped early.
        takes_param_budgets: whether it searches at given numbers of parameters (``--param-budgets``).
        spread: how many first points are spread evenly over the cost axis.
    """

    summary: str
    source: str
    choose: Callable[[Setting], Chooser]
    check: Callable[[Setting], Iterable[Problem]] = _no_problem
    takes_more_objectives: bool = False
    needs_scores: bool = False
    takes_param_budgets: bool = False
    spread: int = 0
