"""Everything that AutoPEFT raises on purpose, and the exit code that each becomes.

::

    AutopeftError            1    something failed
    ├── InvalidInput         2    bad usage or input; carries every Problem found, not only the first
    ├── NotFound             3    no such search, trial or file
    ├── Conflict             4    the name is taken, or another controller owns the search
    ├── NoFeasibleArchitecture 5  nothing in the space satisfies the caps
    ├── ServiceUnreachable   6    the service does not answer
    └── LossyExport          7    the format cannot hold this architecture
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input: which field, what it holds, and what to do."""

    field: str
    value: object
    remedy: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {_shorten(self.value)}"
        return f"{self.field}{shown}: {self.remedy}"

    @classmethod
    def unknown(cls, field: str, value: str, known: Iterable[str]) -> Problem:
        """Return the problem of a name that nobody knows, with the nearest known names."""
        names = sorted(known)
        near = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return cls(field, value, f"unknown; {hint}known: {', '.join(names) or 'none'}")


class AutopeftError(Exception):
    """Base of every error that AutoPEFT raises on purpose."""

    exit_code: ClassVar[int] = 1


class InvalidInput(AutopeftError):
    """The request cannot be carried out as it is written; nothing was started."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class NotFound(AutopeftError):
    """What was named does not exist."""

    exit_code = 3


class Conflict(AutopeftError):
    """The request contradicts what is there already."""

    exit_code = 4


class NoFeasibleArchitecture(AutopeftError):
    """The search ended without one architecture inside the caps."""

    exit_code = 5


class ServiceUnreachable(AutopeftError):
    """The service named by AUTOPEFT_URL does not answer."""

    exit_code = 6


class LossyExport(AutopeftError):
    """The format asked for cannot hold this architecture without loss."""

    exit_code = 7

    def __init__(self, export_format: str, losses: Iterable[str], remedy: str = "") -> None:
        self.losses = tuple(losses)
        listed = "\n".join(f"- {loss}" for loss in self.losses)
        end = f"\n{remedy}" if remedy else ""
        super().__init__(f"format {export_format!r} cannot hold this architecture:\n{listed}{end}")


def _shorten(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
