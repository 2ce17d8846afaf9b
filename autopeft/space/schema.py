"""The YAML document that defines a search space, typed and checked as a whole."""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from autopeft.architecture import Quantisation, Scalar
from autopeft.geometry import SITE_NAMES
from autopeft.modules import MODULE_TYPES
from autopeft.space.grouping import Pattern

T = TypeVar("T")


def _unlike(values: list[T]) -> list[T]:
    # True and 1 are equal to Python, and are not the same to a person.
    seen: set[tuple[type, T]] = set()
    for value in values:
        if (type(value), value) in seen:
            raise ValueError(f"{value!r} is there twice")
        seen.add((type(value), value))
    return values


PERCENTAGE = r"^(\d+(?:\.\d+)?)%$"


def _amount(value: object) -> object:
    percentage = re.fullmatch(PERCENTAGE, value) if isinstance(value, str) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not is_count and (percentage is None or not 0 < float(percentage[1]) <= 100):
        raise ValueError("give a number of parameters (300000) or a percentage of the base model (0.5%), above 0")
    return value


# Unknown sites and module types are told by autopeft.space.check, in the words of the model at hand where there is
# one. The enumerations are for editors; whatever module types there are is read when it is asked for.


def _known_types(schema: dict[str, Any]) -> None:
    schema["enum"] = list(MODULE_TYPES.names)


SiteName = Annotated[str, Field(json_schema_extra={"enum": list(SITE_NAMES)})]
TypeName = Annotated[str, Field(json_schema_extra=_known_types)]
PositiveInt = Annotated[int, Field(ge=1, strict=True)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Values = Annotated[list[T], Field(min_length=1), AfterValidator(_unlike)]
Amount = Annotated[
    int | str,
    BeforeValidator(_amount),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": PERCENTAGE}]}),
]
Scope = Literal["network", "group", "layer", "placement"]
Trend = Literal["increasing", "uniform", "decreasing"]
SOLVED: Literal["solved"] = "solved"


def _describe(schema: dict[str, Any], part: type[BaseModel]) -> None:
    """Give the JSON Schema of a part the words of its docstring, those of an attribute at its key."""
    summary, _, attributes = inspect.cleandoc(part.__doc__ or "").partition("\n\nAttributes:\n")
    schema["description"] = _plain(summary)
    for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE):
        for name in names.split(", "):
            schema["properties"][part.model_fields[name].alias or name]["description"] = _plain(text)


def _plain(text: str) -> str:
    return " ".join(re.sub(r":\w+:`([\w.]+)`", r"\1", text).replace("``", "`").split())


class Part(BaseModel):
    """Base of all parts: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_describe)


class Sizes(Part):
    """Sizes to choose from: listed, or every whole number between two.

    Attributes:
        width_over: divisors of the model's width; each gives ``width // divisor``, and at least 1.
        also: sizes as they are.
        low, high: least and most of a range, drawn on a log scale.
        optional: whether the module may be left out; then 0 is one of the sizes.
        per: what has a size of its own: the whole network, each group, each layer, or each placement.
    """

    width_over: Annotated[list[PositiveInt], AfterValidator(_unlike)] = []
    also: Annotated[list[PositiveInt], AfterValidator(_unlike)] = []
    low: PositiveInt | None = None
    high: PositiveInt | None = None
    optional: bool = False
    per: Scope = "network"

    @model_validator(mode="after")
    def _one_kind(self) -> Sizes:
        listed = bool(self.width_over or self.also)
        if not listed and self.low is None and self.high is None:
            raise ValueError("give at least one size, in width_over or also, or a range from low to high")
        if self.low is not None or self.high is not None:
            if self.low is None or self.high is None or self.low >= self.high:
                raise ValueError("a range needs low and high, with low below high")
            if listed or self.optional:
                raise ValueError("a range goes without width_over, also and optional; use gate to leave a module out")
        return self


class Choose(Part):
    """Any non-empty subset of these sites."""

    choose: Annotated[list[SiteName], Field(min_length=2), AfterValidator(_unlike)]


class TimesSize(Part):
    """Option values that are multiples of the module's size, as LoRA's alpha."""

    times_size: Values[Rate]


OptionValues = Scalar | Values[Scalar] | TimesSize


class Module(Part):
    """One module of the space.

    Attributes:
        type: its module type, or several to choose from; the entry's own name if absent.
        sites: where it goes: all of a list, or any non-empty subset (``choose``). Sites that the model lacks are
            left out; at least one must remain.
        size: a list of sizes, or :class:`Sizes`; ``solved`` where the space's budget decides; absent for a module type
            without a size.
        gate: what can be switched on and off: the module as a whole, in each group, in each layer, or each placement
            by itself. Always on if absent.
        groups: the only groups that it goes into, from 1.
        options: fixed values, lists to choose from, or multiples of the size.
    """

    type: TypeName | Values[TypeName] | None = None
    sites: Values[SiteName] | Choose
    size: Values[PositiveInt] | Sizes | Literal["solved"] | None = None
    gate: Scope | None = None
    groups: Values[PositiveInt] | None = None
    options: dict[str, OptionValues] = {}

    @property
    def site_names(self) -> list[str]:
        """The sites named, chosen from or not."""
        return self.sites.choose if isinstance(self.sites, Choose) else self.sites

    @property
    def size_scope(self) -> Scope:
        """What has a size of its own."""
        return self.size.per if isinstance(self.size, Sizes) else "network"

    def types(self, label: str) -> list[str]:
        """Return the module types that an entry of this name stands for."""
        if self.type is None:
            return [label]
        return [self.type] if isinstance(self.type, str) else self.type


class TopLayers(Part):
    """The last layers; how many is chosen from ``top``."""

    top: Values[PositiveInt]


class Groups(Part):
    """Consecutive layers that are treated alike (Chen et al. 2023, arXiv 2301.01821).

    The layers that ``layers`` lets take part are grouped, which are all of them if it says nothing.

    Attributes:
        count: number of groups, or several to choose from.
        pattern: how the number of layers goes from the first group to the last.
        tunable: whether every group takes part, or any non-empty subset (``choose``).
    """

    count: PositiveInt | Values[PositiveInt] = 4
    pattern: Pattern | Values[Pattern] = "uniform"
    tunable: Literal["all", "choose"] = "all"

    @property
    def counts(self) -> list[int]:
        """The numbers of groups to choose from."""
        return [self.count] if isinstance(self.count, int) else self.count

    @property
    def patterns(self) -> list[Pattern]:
        """The patterns to choose from."""
        return [self.pattern] if isinstance(self.pattern, str) else self.pattern


class Allocation(Part):
    """How sizes, or parameters a layer, go from the first group to the last.

    Attributes:
        of: ``size`` scales each size around its value; ``params`` shares out the space's budget.
        pattern: one, or several to choose from; in proportion to 1, 2, 3, ... where it is not uniform.
    """

    of: Literal["size", "params"] = "size"
    pattern: Trend | Values[Trend]

    @property
    def patterns(self) -> list[Trend]:
        """The patterns to choose from."""
        return [self.pattern] if isinstance(self.pattern, str) else self.pattern


class RealRange(Part):
    """A range of real numbers; on a log scale unless ``log`` is false."""

    low: Rate
    high: Rate
    log: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> RealRange:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class Training(Part):
    """Training settings that are searched with the architecture: a range, or values to choose from.

    They override the recipe's own (see :class:`autopeft.messages.TrainingSettings`); ``epochs`` overrides those of the
    proxy and of the full run alike.
    """

    learning_rate: RealRange | Values[Rate] | None = None
    head_learning_rate: RealRange | Values[Rate] | None = None
    weight_decay: RealRange | Values[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    warmup: Values[Annotated[float, Field(ge=0, lt=1)]] | None = None
    batch_size: Values[PositiveInt] | None = None
    epochs: Values[Rate] | None = None


class Params(Part):
    """Bounds on the trainable parameters, as numbers or percentages of the base model."""

    least: Amount | None = None
    most: Amount | None = None


class Constraints(Part):
    """What no architecture of the space may be.

    Attributes:
        params: bounds on the trainable parameters.
        apart: sets of modules of which one architecture holds one at most.
        forbid: combinations of choices, each a mapping from the name of a dimension to a value or a list of values; a
            point that matches every entry of one of them is left out.
    """

    params: Params = Params()
    apart: list[Annotated[list[str], Field(min_length=2), AfterValidator(_unlike)]] = []
    forbid: list[Annotated[dict[str, Scalar | Values[Scalar]], Field(min_length=1)]] = []


class SpaceDocument(Part):
    """A search space as a file.

    Attributes:
        format: version of this schema.
        summary: one line for people.
        title: short name for tables; the file's name if absent.
        source: paper or notes that it comes from.
        modules: by name; the name is the module type unless ``type`` says another.
        layers: ``all``; ``mask``, one on/off choice a layer, shared by all modules; ``range``, from a first to a last
            layer; ``{top: [...]}``, the last few; or a list of layers, from 0, or from -1 down for the last ones.
        groups: grouping of the layers.
        allocation: how sizes or parameters are shared out over the groups.
        budget: trainable parameters that every architecture is to have, within 2 %; modules of size ``solved`` make
            it so.
        training: searched with the architecture.
        quantisation: how the base model is stored; several to choose from. The search's own setting if absent.
        constraints: what is left out.
    """

    format: Literal[1] = Field(alias="schema")
    summary: str
    title: str = ""
    source: str = ""
    modules: Annotated[dict[str, Module], Field(min_length=1)]
    layers: Literal["all", "mask", "range"] | TopLayers | Values[Annotated[int, Field(strict=True)]] = "all"
    groups: Groups | None = None
    allocation: Allocation | None = None
    budget: Amount | None = None
    training: Training = Training()
    quantisation: Values[Quantisation] | None = None
    constraints: Constraints = Constraints()

    @property
    def solved(self) -> bool:
        """Whether the budget decides the size of some module."""
        return any(module.size == SOLVED for module in self.modules.values())


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a space, by which editors complete and check one (docs/space.schema.json)."""
    schema = SpaceDocument.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "AutoPEFT search space"}
