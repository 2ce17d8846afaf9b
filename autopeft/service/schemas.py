"""The shapes of requests and answers, for the OpenAPI document and for what is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from autopeft.messages import SearchSpec, TaskSpec

EXAMPLES: list[JsonValue] = [
    {"model": "minilm", "task": "docstrings", "space": "autopeft", "budget": 40},
    {
        "name": "reviews",
        "model": "minilm",
        "task": {"name": "upload:u-0123456789abcdef", "text": ["body"], "label": "stars"},
        "budget": "30m",
        "max_params": "2%",
        "confirm": 3,
    },
]
Number = int | float


class SearchRequest(SearchSpec):
    """A search: a model, a task and a budget, and how to search. All of it has defaults."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    task: str | TaskSpec = "docstrings"  # type: ignore[assignment]
    budget: str | Number = "40"  # type: ignore[assignment]
    max_params: str | Number | None = None  # type: ignore[assignment]
    objectives: str | tuple[str, ...] = ("params", "score")  # type: ignore[assignment]
    param_budgets: str | tuple[str | Number, ...] = ()  # type: ignore[assignment]
    executor: Literal["ray", "inline"] = "ray"
    table: None = None


class ResumeRequest(BaseModel):
    """More than before (``+20``), a budget in all (``60``), or nothing to go on with what is left."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"budget": "+20"}]})

    budget: str | None = Field(default=None, max_length=40)


class SessionRequest(BaseModel):
    """A token, from which the page's cookie is made."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"token": "apt_..."}]})

    token: str = Field(max_length=500)


class Mistake(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    value: Any
    remedy: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[Mistake] = []


class Me(BaseModel):
    """Who is asking."""

    owner: str
    scopes: list[str]
    open: bool


class Named(BaseModel):
    """Something that can be asked for by name."""

    name: str
    summary: str


class Options(BaseModel):
    """What may be asked for."""

    models: list[Named]
    tasks: list[Named]
    spaces: list[Named]
    samplers: list[Named]
    policies: list[Named]
    metrics: list[str]
    formats: list[Named]
    defaults: dict[str, Any]
    upload_limit: int


class PlanDocument(BaseModel):
    """What a request comes to."""

    base_parameters: int
    metric: str
    rows: dict[str, int]
    labels: list[str]
    cardinality: int | None
    smallest: int


class CheckDocument(BaseModel):
    """Whether a request can be carried out, and every problem if not."""

    valid: bool
    errors: list[Mistake]
    plan: PlanDocument | None


class SearchDocument(BaseModel):
    """A search."""

    id: str
    name: str
    state: Literal["queued", "running", "interrupted", "cancelled", "failed", "done"]
    detail: str
    created: float
    seconds: float
    model: str
    task: str
    space: str
    sampler: str
    budget: str
    max_params: str | None
    objectives: list[str]
    caps: dict[str, str]
    metric: str
    base_parameters: int
    layers: int | None
    submitter: str | None
    served: bool
    owner: str | None
    spec: dict[str, Any]
    trials: dict[str, int]
    progress: dict[str, Any] | None
    links: dict[str, str]


class SearchPage(BaseModel):
    """Some searches, newest first."""

    searches: list[SearchDocument]
    next: str | None


class Front(BaseModel):
    """The answer of a search as it stands."""

    model_config = ConfigDict(extra="allow")

    search: str
    name: str
    state: str
    metric: str
    front: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    hypervolume: float
    baseline_hypervolume: float
    base_parameters: int
    objectives: list[str]
    pick: dict[str, int | None]


class HistoryPoint(BaseModel):
    """How far a search was after ``at`` seconds of work."""

    at: float
    done: int
    best: float | None
    hypervolume: float
    phase: str


class History(BaseModel):
    """How a search went."""

    points: list[HistoryPoint]


class TrialPage(BaseModel):
    """Some trials."""

    trials: list[dict[str, Any]]
    next: str | None
    total: int


class EventDocument(BaseModel):
    """Something that happened to a search."""

    id: int
    kind: str
    body: dict[str, Any]
    created: float


class EventPage(BaseModel):
    """Some events, and the id after which more may come."""

    events: list[EventDocument]
    last: int


class FormatDocument(BaseModel):
    """How an architecture fits into an export format."""

    name: str
    summary: str
    losses: list[str]
    lossless: bool
    writable: bool


class ExportsDocument(BaseModel):
    """How an architecture fits into every export format."""

    pick: int
    formats: list[FormatDocument]


class UploadDocument(BaseModel):
    """A file that was uploaded; ``task`` is what a search calls it."""

    id: str
    name: str
    size: int
    digest: Annotated[str, Field(description="SHA-256")]
    task: str
    created: float
    owner: str


class UploadPage(BaseModel):
    """All uploads, newest first."""

    uploads: list[UploadDocument]
