"""The cost axis: logarithmic, with a place of its own for architectures without any parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autopeft.plots.wording import params_text, percent_text

LEAST_DECADES = 0.8


@dataclass(frozen=True)
class Tick:
    """A labelled place on the axis; the label's second line is the share of the base model."""

    at: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ParamsAxis:
    """Places of parameter counts: their decimal logarithm, and left of a break the place of zero.

    Attributes:
        low: left end of the view.
        high: right end of the view.
        zero: place of zero parameters; None if nothing shown has zero.
        cut: place of the break between zero and the logarithmic part; None without zero.
        base_parameters: of the base model, for percentages.
    """

    low: float
    high: float
    zero: float | None
    cut: float | None
    base_parameters: int

    @classmethod
    def spanning(cls, counts: Iterable[int], base_parameters: int) -> ParamsAxis:
        """Return an axis on which all these counts have room."""
        counts = list(counts)
        logs = [math.log10(count) for count in counts if count > 0]
        has_zero = len(logs) < len(counts)
        if not logs:
            return cls(-1.0, 1.0, 0.0, None, base_parameters)
        middle, reach = (min(logs) + max(logs)) / 2, max(max(logs) - min(logs), LEAST_DECADES) / 2
        first, last = middle - reach, middle + reach
        unit = (last - first) / 100
        if not has_zero:
            return cls(first - 6 * unit, last + 6 * unit, None, None, base_parameters)
        return cls(first - 21 * unit, last + 6 * unit, first - 15 * unit, first - 8 * unit, base_parameters)

    def position(self, params: int) -> float:
        """Return the place of a count."""
        if params > 0:
            return math.log10(params)
        if self.zero is None:
            raise ValueError("this axis has no place for zero")
        return self.zero

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Labelled places: zero, and powers of ten or, in a narrow view, 1, 2 and 5 times those."""
        start = self.cut if self.cut is not None else self.low
        counts = [] if self.zero is not None and self.cut is None else list(self._round_counts(start))
        ticks = [Tick(math.log10(count), self._lines(count)) for count in counts]
        return tuple(ticks if self.zero is None else [Tick(self.zero, self._lines(0)), *ticks])

    @property
    def minor_ticks(self) -> tuple[float, ...]:
        """Places of 2 to 9 times each power of ten."""
        if self.zero is not None and self.cut is None:
            return ()
        start = self.cut if self.cut is not None else self.low
        return tuple(math.log10(count) for count in _multiples(start, self.high, range(2, 10)))

    def _round_counts(self, start: float) -> Iterator[int]:
        decades = math.floor(self.high) - math.ceil(start) + 1
        return _multiples(start, self.high, (1,) if decades >= 4 else (1, 3) if decades == 3 else (1, 2, 5))

    def _lines(self, count: int) -> tuple[str, ...]:
        if self.base_parameters <= 0:
            return (params_text(count),)
        return params_text(count), percent_text(100 * count / self.base_parameters)


def _multiples(low: float, high: float, factors: Iterable[int]) -> Iterator[int]:
    factors = tuple(factors)
    for decade in range(max(0, math.floor(low)), math.floor(high) + 1):
        yield from (f * 10**decade for f in factors if low <= math.log10(f * 10**decade) <= high)
