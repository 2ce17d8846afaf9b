"""A recipe: one architecture on one base model and task, how it is trained, and what it has scored.

It is what a search leaves behind for a person, as a YAML file; ``docs/recipe.md`` explains every key. Reading or
writing one needs neither torch nor the model nor the data.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from autopeft.architecture import Architecture
from autopeft.documents import parse, read_yaml
from autopeft.errors import InvalidInput, Problem
from autopeft.messages import Fidelity, Message, Precision, TaskSpec, TrainingSettings
from autopeft.storage import write_atomically

SCHEMA: Literal[2] = 2
_LOG = logging.getLogger(__name__)
MOST_BYTES = 1024 * 1024  # every layer of a large model may have sizes of its own
HEADER = """\
# A recipe of AutoPEFT: one PEFT architecture on one base model and task, and how it is trained.
# Train it:  autopeft train {name} --out trained
# Every key is explained in docs/recipe.md.
"""


def _read_architecture(value: object) -> Architecture:
    if isinstance(value, Architecture):
        return value
    try:
        return Architecture.from_dict(value)  # type: ignore[arg-type]
    except (TypeError, AttributeError) as error:  # a number where a list should be, and the like
        raise ValueError(f"not an architecture: {error}") from error


ArchitectureField = Annotated[
    Architecture,
    PlainValidator(_read_architecture),
    PlainSerializer(Architecture.to_dict, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object"}),
]


class RecipeModel(Message):
    """The base model.

    Attributes:
        name: as it was asked for: ``minilm``, the path of a folder, or a hub id.
        location: whether a dependency carries it, or where its files are.
        revision: of a hub model, as asked for.
        hash: SHA-256 (16 hexadecimal digits) of local weights, or the hub's commit.
        parameters: of the base model without a task head.
    """

    name: str
    location: Literal["bundled", "folder", "hub"]
    revision: str | None
    hash: str
    parameters: int = Field(ge=1)

    @property
    def address(self) -> str:
        """The name under which exactly this model is loaded: a hub model at its commit."""
        return f"{self.name.partition('@')[0]}@{self.hash}" if self.location == "hub" else self.name


class RecipeTask(TaskSpec):
    """The task: how to read it, and what it was when the search read it.

    Attributes:
        hash: 16 hexadecimal digits over all rows, labels and splits.
        labels: class names; empty for a regression.
        metric: what was maximised, the default of the task filled in.
        rows: rows of each split.
    """

    metric: str
    hash: str
    kind: Literal["classification", "regression"]
    labels: tuple[str, ...]
    rows: dict[str, int]

    @property
    def spec(self) -> TaskSpec:
        """How to read the task, alone."""
        return TaskSpec(**self.model_dump(include=set(TaskSpec.model_fields)))


class RecipeTraining(Message):
    """How it is trained; the architecture's own ``training`` overrides ``settings``.

    Attributes:
        precision: type in which the frozen base model is stored and computed.
        fidelity: how much training: all of it, not a proxy's.
        settings: of the optimiser.
    """

    precision: Precision
    fidelity: Fidelity
    settings: TrainingSettings


class RecipeScores(Message):
    """What it scored in the search.

    Attributes:
        metric: what ``mean`` is of; higher is better.
        std: sample standard deviation over seeds; None with fewer than two.
        seeds: runs that ``mean`` is of.
        confirmed: whether these are runs at full fidelity; else it is one proxy run.
        split: rows that were scored: ``validation`` if confirmed, else ``holdout``, which the search chose by.
    """

    metric: str
    mean: float
    std: float | None
    seeds: int = Field(ge=1)
    confirmed: bool
    split: Literal["validation", "holdout"]


class RecipeBaseline(Message):
    """A hand-made configuration of the same search, with a score of the same kind and on the same rows.

    Attributes:
        params: trainable, without the task head.
        mean, std, seeds: as those of :class:`RecipeScores`.
    """

    name: str
    params: int = Field(ge=0)
    mean: float
    std: float | None
    seeds: int = Field(ge=1)


class RecipeCounts(Message):
    """Trainable parameters without the task head, and their percentage of the base model's."""

    params: int = Field(ge=0)
    params_percent: float = Field(ge=0)


class RecipeSearch(Message):
    """Where it was found: the search, and its number in it."""

    id: str
    name: str
    trial: int
    space: str
    sampler: str
    budget: str


class Recipe(Message):
    """One architecture with everything that training it again needs.

    Attributes:
        created: when the recipe was made, in UTC to the second.
        seeds: with which it was scored.
        baselines: what it was compared with; empty where that is not known.
        versions: of the packages in the search, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True, validate_by_name=True)

    schema_version: Literal[2] = Field(validation_alias="schema", serialization_alias="schema")
    name: str
    created: Annotated[AwareDatetime, AfterValidator(lambda t: t.astimezone(UTC).replace(microsecond=0))]
    base_model: RecipeModel
    task: RecipeTask
    architecture: ArchitectureField
    training: RecipeTraining
    seeds: tuple[int, ...] = Field(min_length=1)
    scores: RecipeScores
    baselines: tuple[RecipeBaseline, ...]
    counts: RecipeCounts
    search: RecipeSearch
    versions: dict[str, str]


def _with_baselines(document: dict[str, Any]) -> dict[str, Any]:
    return {"baselines": [], **document}


# From each older schema to the next one; a file passes through all that come after its own.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _with_baselines}


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe's file; one of an older schema is brought to this one, and a log line says so.

    Raises:
        InvalidInput: it is missing, no recipe, of a newer AutoPEFT, or has mistakes; all of them are listed.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InvalidInput(Problem("recipe", str(path), "a folder; give the path of the recipe.yaml in it"))
    return parse(Recipe, _migrated(read_yaml(path, MOST_BYTES), path.name), path.name)


def _migrated(document: dict[str, Any], origin: str) -> dict[str, Any]:
    schema = document.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int):
        return document  # which is a mistake, and is told with the others
    if schema > SCHEMA:
        here = importlib.metadata.version("autopeft")
        remedy = f"newer than AutoPEFT {here}, which reads schema {SCHEMA}; upgrade with pip install -U autopeft"
        raise InvalidInput(Problem(f"{origin}: schema", schema, remedy))
    if schema in _MIGRATIONS:
        _LOG.warning("%s has schema %d, and is read as schema %d", origin, schema, SCHEMA)
    while schema in _MIGRATIONS:
        document = {**_MIGRATIONS[schema](document), "schema": schema + 1}
        schema += 1
    return document


def write_recipe(recipe: Recipe, path: Path | str) -> None:
    """Write a recipe as YAML; :func:`read_recipe` gives an equal one back."""
    path = Path(path).expanduser()
    write_atomically(path, HEADER.format(name=path.name) + dump_recipe(recipe))


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML text, its keys in the order of the model."""
    document = recipe.model_dump(mode="json", by_alias=True)
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes plain lists on one line, and no aliases, which :func:`autopeft.documents.read_yaml` does not read."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML folds line breaks such as U+0085 in its other styles, and they come back as spaces.
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        plain = not any(isinstance(item, (dict, list)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)


_Dumper.add_representer(str, _Dumper.represent_str)
