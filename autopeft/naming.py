"""What a search may be called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from autopeft.errors import Problem

LONGEST_NAME = 200


def can_be_kept(name: str) -> bool:
    """Whether a database and a terminal take it as a name."""
    return len(name) <= LONGEST_NAME and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def unkept(name: str) -> Problem:
    """Return the problem of a name that :func:`can_be_kept` refuses."""
    return Problem("name", name, f"give up to {LONGEST_NAME} characters, none of them a control character")


def name_problems(name: str | None) -> Iterator[Problem]:
    """Yield what is wrong with the name of a search; none at all is right."""
    if name is None:
        return
    if not can_be_kept(name):
        yield unkept(name)
    if not name.strip() or name != name.strip():
        yield Problem("name", name, "empty, or with blanks around it; give a word or two")
    if name.startswith("-"):
        yield Problem("name", name, "begins with '-', as options do; begin with a letter or a digit")
    if "/" in name or name in (".", ".."):
        yield Problem("name", name, "could not be part of an address; leave '/' out, and '.' and '..' alone")
    if re.fullmatch(r"s-[0-9a-f]{8}", name):
        yield Problem("name", name, "looks like an id, which every search is given; choose another")
