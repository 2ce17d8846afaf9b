"""The messages between the parts: what a person asks for, what a worker is asked for, and what it reports.

All are frozen pydantic models: checked when made, and plain JSON on any wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from autopeft.architecture import Architecture, Quantisation

Reason = Literal[
    "diverged", "out_of_memory", "worker_lost", "timeout", "stopped", "controller_lost", "error", "pruned", "over_cap"
]
SearchState = Literal["queued", "running", "interrupted", "cancelled", "failed", "done"]
# The states in which nothing more happens to a search unless it is resumed.
ENDED: frozenset[SearchState] = frozenset(("done", "failed", "cancelled"))
Precision = Literal["auto", "float32", "bfloat16"]
Part = Literal["holdout", "validation", "test"]
# Shares of the proxy after which a trial may be stopped.
RUNGS = (1 / 9, 1 / 3)
# The one setting searched with an architecture that belongs to the fidelity.
EPOCHS = "epochs"
# In bytes: what file systems take as one part of a path, and as a whole one.
LONGEST_PART, LONGEST_PATH = 255, 4000


def rests(state: str, served: bool, owner: str | None) -> bool:
    """Whether nothing more happens to a search unless it is resumed: no controller takes up what is not served."""
    return state in ENDED or (state == "interrupted" and not served and owner is None)


def _of_a_length(text: str) -> str:
    parts = text.encode(errors="replace").split(b"/")
    if max(map(len, parts)) > LONGEST_PART or sum(map(len, parts)) > LONGEST_PATH:
        raise ValueError(f"too long for a name or a path; give up to {LONGEST_PART} bytes between slashes")
    return text


# What may be the path of a file or folder.
Place = Annotated[str, AfterValidator(_of_a_length)]


class Message(BaseModel):
    """Base of all messages: frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(Message):
    """Base of what a person asks for: numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class TaskSpec(Asked):
    """Which task, and how to read it.

    Attributes:
        name: ``docstrings``, ``glue/<task>``, ``hf:<dataset>[/config][@revision]``, or the path of a file or folder.
        text: columns of the one or two texts; found by common names if empty.
        label: column of the class; found by common names if None.
        score: column of the number to predict; makes the task a regression.
        metric: what to maximise; a default by kind of task if None.
        max_length: longest text in tokens; longer ones are cut.
        encoding: of text files.
    """

    name: Place
    text: tuple[str, ...] = ()
    label: str | None = None
    score: str | None = None
    metric: str | None = None
    max_length: int = Field(default=128, ge=4, le=8192)
    encoding: str = "utf-8"


class Fidelity(Asked):
    """How much training a run gets.

    Attributes:
        rows: training rows at most; None for all.
        epochs: passes over those rows.
        evaluations: how often the held-out rows are scored during training; the best of these steps counts.
        rungs: shares of the training, ascending and below 1, after which they are scored too and a run that falls
            behind may be stopped.
        held_out_rows: held-out rows at most; None for all.
    """

    rows: int | None = Field(default=None, ge=1)
    epochs: float = Field(default=3.0, gt=0)
    evaluations: int = Field(default=3, ge=1, le=1000)
    rungs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    held_out_rows: int | None = Field(default=None, ge=1)


class TrainingSettings(Asked):
    """The recipe's own hyperparameters; an architecture's ``training`` overrides those of the same name.

    Attributes:
        learning_rate: of the PEFT modules; None takes each module type's own.
        head_learning_rate: of the task head; None takes one by the model's width.
        batch_size: rows a step.
        weight_decay: AdamW's, on everything that trains.
        warmup: share of the steps over which the learning rate rises; it falls linearly to zero after.
        gradient_clip: largest norm of all gradients together.
    """

    learning_rate: float | None = Field(default=None, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)


class GateTraining(Asked):
    """How gates are trained beside the weights (S3Delta, arXiv 2206.07382).

    Attributes:
        steps: of the weights, and of the gates. From few, gates learn nothing; in many, the weights learn their half
            of the rows by heart, and the best gates become those of modules that change little.
        draws: batches of the other half, each with gates drawn afresh, that a step's gradient is the mean of.
        learning_rate: of the gates' logits, under AdamW.
        temperature: beta of the shifted global sigmoid; a lower one parts the probabilities faster.
        order: ``first`` takes the weights as they are for the gates' gradient; ``second`` looks one weight step
            ahead, as DARTS does, at three more passes a draw.
    """

    steps: int = Field(default=100, ge=1)
    draws: int = Field(default=4, ge=1, le=1000)
    learning_rate: float = Field(default=0.1, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    order: Literal["first", "second"] = "first"


class GateSettings(GateTraining):
    """Train a gate on every placement as well, and report its probability.

    Attributes:
        budget: trainable parameters that the structure drawn from the probabilities is to have on average.
    """

    budget: int = Field(ge=1)


class Bar(Message):
    """What a run must reach to go on.

    Attributes:
        share: of the training after which the held-out rows are scored.
        score: least score there.
    """

    share: float = Field(gt=0, lt=1)
    score: float

    def missed(self, step: int, steps: int, score: float) -> str:
        """Return what there is to say of a run that is below."""
        return f"{score:.4f} after {step} of {steps} steps, where {self.score:.4f} was needed"


class TrialRequest(Message):
    """One training run, complete in itself.

    Attributes:
        key: what the report is matched by; unique among requests in flight.
        model: name, folder or hub id of the base model (see :mod:`autopeft.base_models`).
        architecture: ``Architecture.to_dict()``.
        parts: the splits to score at the best step, beside the held-out rows.
        keep_weights: whether the report carries the trained tensors.
        bars: what the run must reach; below one it is stopped, and its report has the state ``pruned``.
        latency: whether to time the trained model's predictions.
        shortcuts: whether hidden states that no module changes are kept from run to run, and what the head does not
            read is left out; not where the run's own memory or time is what is asked for.
        wall_limit: seconds after which the run stops itself with reason ``timeout``.
        gates: makes the run a structure search: the architecture holds every placement that has a gate, nothing is
            evaluated, and the report has probabilities in place of scores and weights.
        model_hash: fingerprint of the base model that the run is for: with another, the run fails. Empty: any.
        task_hash: fingerprint of the task's rows, likewise.
    """

    key: str
    model: str
    task: TaskSpec
    architecture: dict[str, Any]
    fidelity: Fidelity
    model_hash: str = ""
    task_hash: str = ""
    training: TrainingSettings = TrainingSettings()
    precision: Precision = "auto"
    seed: int = 0
    parts: tuple[Part, ...] = ("holdout",)
    keep_weights: bool = False
    bars: tuple[Bar, ...] = ()
    latency: bool = False
    shortcuts: bool = True
    wall_limit: float | None = None
    gates: GateSettings | None = None

    @property
    def decoded(self) -> Architecture:
        """The architecture as a value."""
        return Architecture.from_dict(self.architecture)

    @property
    def chosen_training(self) -> TrainingSettings:
        """The training settings, with those that the architecture brings in their place.

        Raises:
            ValueError: the architecture brings one that there is not, or one out of range.
        """
        chosen = {name: value for name, value in self.decoded.training if name != EPOCHS}
        return TrainingSettings.model_validate({**self.training.model_dump(), **chosen})

    @property
    def chosen_fidelity(self) -> Fidelity:
        """The fidelity, with the architecture's own number of epochs if it brings one."""
        chosen = {name: value for name, value in self.decoded.training if name == EPOCHS}
        return Fidelity.model_validate({**self.fidelity.model_dump(), **chosen})


class TrialReport(Message):
    """What became of a request.

    Attributes:
        state: ``complete``, ``pruned`` (stopped below a bar) or ``failed``; without a complete run there are no
            scores, but a reason.
        scores: by part, the task's metric at the best step (higher is better).
        metrics: by part, every metric of the task.
        params: trained PEFT parameters without the head.
        head_params: parameters of the task head.
        seconds: wall time of the whole run; ``busy_seconds`` that of training steps and evaluation alone.
        peak_memory: bytes: of the GPU if one was used, else of the process.
        latency: seconds for one batch of held-out rows, if it was asked for.
        best_step: the step whose weights were scored, of ``steps`` that the run was to take.
        curve: (step, held-out score) of every evaluation.
        center, scale: a regression's output, times ``scale`` and plus ``center``, is in the task's own units.
        weights: trained tensors in safetensors format, if they were asked for.
        probabilities: of the gates, by placement in the architecture's order; empty after plain training.
        source: id of the search whose run this is, where it was not run again.
    """

    key: str
    state: Literal["complete", "pruned", "failed"]
    reason: Reason | None = None
    detail: str = ""
    scores: dict[str, float] = {}
    metrics: dict[str, dict[str, float]] = {}
    params: int = 0
    head_params: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0
    peak_memory: int = 0
    latency: float = 0.0
    best_step: int = 0
    steps: int = 0
    curve: tuple[tuple[int, float], ...] = ()
    center: float = 0.0
    scale: float = 1.0
    device: str = ""
    weights: bytes | None = Field(default=None, exclude=True, repr=False)
    probabilities: tuple[float, ...] = ()
    source: str = ""

    def held_to(self, bars: Sequence[Bar]) -> TrialReport | None:
        """Return the report that the same run gives under these bars; None where this one ends too early to tell."""
        if self.state == "failed":
            return self
        scores = dict(self.curve)
        for step, bar in sorted(held_at(bars, self.steps).items()):
            if step not in scores:
                return None
            if scores[step] < bar.score:
                return self._stopped(step, scores[step], bar)
        return self if self.state == "complete" else None

    def _stopped(self, step: int, score: float, bar: Bar) -> TrialReport:
        share = step / self.steps
        return TrialReport(
            key=self.key,
            state="pruned",
            reason="pruned",
            detail=bar.missed(step, self.steps, score),
            params=self.params,
            head_params=self.head_params,
            seconds=self.seconds * share,
            busy_seconds=self.busy_seconds * share,
            peak_memory=self.peak_memory,
            steps=self.steps,
            curve=tuple(point for point in self.curve if point[0] <= step),
            center=self.center,
            scale=self.scale,
            device=self.device,
        )

    @classmethod
    def failure(cls, key: str, reason: Reason, detail: str = "", seconds: float = 0.0) -> TrialReport:
        """Return the report of a run that gave no score."""
        return cls(key=key, state="failed", reason=reason, detail=detail[:2000], seconds=seconds)


def place(share: float, steps: int) -> int:
    """Return the step, from 1, that a share of so many steps ends with."""
    return max(1, round(share * steps))


def held_at(bars: Sequence[Bar], steps: int) -> dict[int, Bar]:
    """Return the bars by the step at which a run of so many steps is held to them; at its end there is none."""
    ordered = sorted(bars, key=lambda bar: bar.score)
    return {place(bar.share, steps): bar for bar in ordered if place(bar.share, steps) < steps}


class SearchSpec(Asked):
    """What a person asks for: a model, a task, a budget, and how to search.

    Attributes:
        budget: ``40`` (trials), ``30m`` or ``2h`` (wall time), ``4gpu-h``.
        max_params: cap on the trainable parameters, as a number or a percentage of the base model (``2%``).
        objectives: ``params`` and ``score``, and what else is minimised (see :mod:`autopeft.objectives`).
        caps: most of a measured quantity, as ``{"memory": "8GB"}``; a trial above it counts as failed.
        param_budgets: numbers of trainable parameters, or percentages of the base model, to search at; for a sampler
            that searches so.
        table: file of recorded runs, for the executor that replays them.
        warm_start: what earlier searches give: ``same`` (runs of the same model, task and training are not run again,
            and the sampler learns from them), ``all`` (as well, what was on the fronts of other tasks is tried first),
            the id or name of a search (the same with that search's front), or ``none``.
        pack: trials that a worker trains in one pass over the frozen model, where they can share one; ``auto`` takes
            as many as its share of a GPU has room for, and one on a CPU.
        policy: which trials are stopped early; None takes ``optimistic``, or ``none`` where the sampler needs every
            trial's score.
        gates: how gates are trained, for a sampler that does so.
        proxy: fidelity of the search's trials; where its rungs are not named they are :data:`RUNGS`.
        full: fidelity of confirmation and final training.
        confirm: seeds at which the front and the baselines are confirmed; 0 leaves the confirmation out.
        runners_up: how many of the trials that are nearest to the front are confirmed too, as the proxies' scores are
            noisy: at one seed, and at the others where that puts them on the front.
        baselines: whether hand-made configurations are the first trials.
    """

    name: str | None = None
    model: Place = "minilm"
    task: TaskSpec = TaskSpec(name="docstrings")
    space: Place = "autopeft"
    budget: str = "40"
    max_params: str | None = None
    objectives: tuple[str, ...] = ("params", "score")
    caps: dict[str, str] = {}
    param_budgets: tuple[str, ...] = ()
    sampler: str = "known_cost"
    policy: str | None = None
    executor: str = "ray"
    table: Place | None = None
    warm_start: str = "same"
    workers: int = Field(default=2, ge=1, le=1024)
    pack: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = 1
    seed: int = Field(default=0, ge=0, lt=2**31)
    quantise: Quantisation = "none"
    precision: Precision = "auto"
    training: TrainingSettings = TrainingSettings()
    gates: GateTraining = GateTraining()
    proxy: Fidelity = Fidelity(rows=1000, epochs=3, evaluations=1, rungs=RUNGS, held_out_rows=500)
    full: Fidelity = Fidelity(epochs=3, evaluations=6)
    confirm: int = Field(default=3, ge=0, le=100)
    runners_up: int = Field(default=8, ge=0, le=1000)
    baselines: bool = True
    trial_timeout: float = Field(default=3600.0, gt=0)

    @field_validator("proxy")
    @classmethod
    def _with_rungs(cls, proxy: Fidelity) -> Fidelity:
        return proxy if "rungs" in proxy.model_fields_set else proxy.model_copy(update={"rungs": RUNGS})

    def proxy_seed(self, architecture: Architecture) -> int:
        """Return the seed of an architecture's trial: its own, and the same in every search of this seed.

        The order of the rows favours whole families of architectures over others, by as much as these differ. Were it
        the same in all trials, a search would take that luck for merit, and further trials would not tell it better.
        """
        digest = hashlib.sha256(f"{self.seed} {architecture.fingerprint}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1
