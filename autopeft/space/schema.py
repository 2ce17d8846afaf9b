"""The YAML document that defines a search space, typed and checked as a whole."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from autopeft.architecture import Scalar

T = TypeVar("T")


def _unlike(values: list[T]) -> list[T]:
    # True and 1 are equal to Python, and are not the same to a person.
    for index, value in enumerate(values):
        if any(type(value) is type(other) and value == other for other in values[:index]):
            raise ValueError(f"{value!r} is there twice")
    return values


PositiveInt = Annotated[int, Field(ge=1, strict=True)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Values = Annotated[list[T], Field(min_length=1), AfterValidator(_unlike)]


class Part(BaseModel):
    """Base of all parts: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sizes(Part):
    """Sizes to choose from.

    Attributes:
        width_over: divisors of the model's width; each gives ``width // divisor``, and at least 1.
        also: sizes as they are.
        optional: whether the module type may be left out; then 0 is one of the sizes.
    """

    width_over: Annotated[list[PositiveInt], AfterValidator(_unlike)] = []
    also: Annotated[list[PositiveInt], AfterValidator(_unlike)] = []
    optional: bool = False

    @model_validator(mode="after")
    def _not_empty(self) -> Sizes:
        if not self.width_over and not self.also:
            raise ValueError("give at least one size, in width_over or also")
        return self


class Choose(Part):
    """Any non-empty subset of these sites."""

    choose: Annotated[list[str], Field(min_length=2), AfterValidator(_unlike)]


class TimesSize(Part):
    """Option values that are multiples of the module's size, as LoRA's alpha."""

    times_size: Values[Rate]


class Module(Part):
    """One module type of the space.

    Attributes:
        sites: where it goes: all of a list, or any non-empty subset (``choose``). Sites that the model lacks are
            left out; at least one must remain.
        size: a list of sizes, or :class:`Sizes`; absent for a module type without a size.
        options: fixed values, lists to choose from, or multiples of the size.
    """

    sites: Values[str] | Choose
    size: Values[PositiveInt] | Sizes | None = None
    options: dict[str, Scalar | Values[Scalar] | TimesSize] = {}

    @property
    def site_names(self) -> list[str]:
        """The sites named, chosen from or not."""
        return self.sites.choose if isinstance(self.sites, Choose) else self.sites


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
    """Training settings that are searched with the architecture: a range, or values to choose from."""

    learning_rate: RealRange | Values[Rate] | None = None
    head_learning_rate: RealRange | Values[Rate] | None = None


class SpaceDocument(Part):
    """A search space as a file.

    Attributes:
        format: version of this schema.
        layers: ``all``; ``mask``, one on/off choice a layer, shared by all module types; or ``range``, from a first
            to a last layer.
    """

    format: Literal[1] = Field(alias="schema")
    summary: str
    source: str = ""
    modules: Annotated[dict[str, Module], Field(min_length=1)]
    layers: Literal["all", "mask", "range"] = "all"
    training: Training = Training()
