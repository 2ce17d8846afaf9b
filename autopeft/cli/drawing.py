"""Drawings of architectures in the characters that a terminal has."""

from __future__ import annotations

from rich.console import Console

from autopeft.drawing import ABSENT, PRESENT

_PLAIN = str.maketrans({PRESENT: "x", ABSENT: ".", "×": "x"})


def printable(text: str, console: Console) -> str:
    """Return the text in characters that the terminal can show."""
    if not console.options.ascii_only:
        return text
    return text.translate(_PLAIN).encode("ascii", "replace").decode()
