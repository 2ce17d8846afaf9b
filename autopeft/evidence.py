"""Why a sampler chose what it chose: the files that it keeps, as values. Only some samplers keep any."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from autopeft.architecture import Scalar
from autopeft.errors import AutopeftError, InvalidInput, Problem

STAGES_FILE = "stages.json"
T = TypeVar("T")


def gates_file(budget: int) -> str:
    """Return the name of the file with the structure found for a number of parameters."""
    return f"gates-{budget}.json"


@dataclass(frozen=True)
class Gate:
    """One place where a module could go.

    Attributes:
        params: that a module there has.
        probability: that its gate is open, after the structure search.
        chosen: whether it is kept.
    """

    module: str
    site: str
    layer: int
    size: int
    params: int
    probability: float
    chosen: bool


@dataclass(frozen=True)
class Structure:
    """What a structure search found for one number of parameters.

    Attributes:
        budget: trainable parameters that were asked for.
        layers: of the base model.
    """

    budget: int
    seconds: float
    steps: int
    layers: int
    gates: tuple[Gate, ...]

    @property
    def kept(self) -> tuple[Gate, ...]:
        """The gates that make the structure."""
        return tuple(gate for gate in self.gates if gate.chosen)

    @property
    def params(self) -> int:
        """Parameters of the gates that are kept."""
        return sum(gate.params for gate in self.kept)


@dataclass(frozen=True)
class StageAnswer:
    """An answer to a stage's question, with the scores of the architectures that were drawn for it.

    Attributes:
        answer: the point's entries that give it.
        label: the same in few words.
        mean: of the scores; None where every run failed.
        std: deviation of the scores; None with fewer than two.
        trials: numbers of the trials, failed ones too.
    """

    answer: dict[str, Scalar]
    label: str
    mean: float | None
    std: float | None
    scores: tuple[float, ...]
    trials: tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """One question that is decided.

    Attributes:
        stage: its name.
        best: index of the answer that was kept.
    """

    stage: str
    answers: tuple[StageAnswer, ...]
    best: int

    @property
    def winner(self) -> StageAnswer:
        """The answer that was kept."""
        return self.answers[self.best]

    @property
    def ranked(self) -> list[StageAnswer]:
        """The answers by descending mean, those without one last."""
        return sorted(self.answers, key=lambda one: (one is not self.winner, one.mean is None, -(one.mean or 0.0)))


@dataclass(frozen=True)
class Stages:
    """The questions of a search in stages that are decided so far.

    Attributes:
        samples: how many architectures are drawn for each answer.
        design: the point's entries that the winners give.
    """

    samples: int
    stages: tuple[Stage, ...]
    design: dict[str, Scalar]


@dataclass(frozen=True)
class Evidence:
    """What a search's sampler kept so far; what another sampler would keep is empty.

    Attributes:
        search: id.
        metric: that scores are of.
        structures: of ``s3delta``, by ascending budget.
        samples: of ``progressive``: how many architectures are drawn for each answer; None before its first decision.
        stages: of ``progressive``, in the order of their questions.
        design: of ``progressive``: what is decided so far.
    """

    search: str
    name: str
    state: str
    sampler: str
    metric: str
    structures: tuple[Structure, ...] = ()
    samples: int | None = None
    stages: tuple[Stage, ...] = ()
    design: dict[str, Scalar] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is found or decided yet."""
        return not (self.structures or self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, with the keys of the files."""
        return asdict(self)


def read_evidence(evidence: Evidence, folder: Path) -> Evidence:
    """Return the evidence with what its sampler has written to the folder so far.

    Raises:
        InvalidInput: the sampler keeps none.
        AutopeftError: a file is damaged.
    """
    if evidence.sampler not in _READERS:
        remedy = f"keeps no evidence; those that do: {', '.join(KEEPERS)}"
        raise InvalidInput(Problem("sampler", evidence.sampler, remedy))
    return _READERS[evidence.sampler](evidence, folder)


def read_structure(path: Path) -> Structure:
    """Return what a file of :func:`gates_file` holds.

    Raises:
        AutopeftError: it is damaged.
    """
    return _read(path, Structure)


def to_json(found: Structure | Stages) -> str:
    """Return the content of a sampler's file."""
    return json.dumps(asdict(found), indent=1)


def _with_structures(evidence: Evidence, folder: Path) -> Evidence:
    found = [read_structure(path) for path in folder.glob("gates-*.json")]
    return replace(evidence, structures=tuple(sorted(found, key=lambda structure: structure.budget)))


def _with_stages(evidence: Evidence, folder: Path) -> Evidence:
    path = folder / STAGES_FILE
    if not path.exists():
        return evidence
    found = _read(path, Stages)
    return replace(evidence, samples=found.samples, stages=found.stages, design=found.design)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        raise AutopeftError(f"{path} is damaged: {error.errors()[0]['msg']}") from error


_READERS: dict[str, Callable[[Evidence, Path], Evidence]] = {"s3delta": _with_structures, "progressive": _with_stages}
KEEPERS = tuple(_READERS)
