"""``autopeft export``."""

from __future__ import annotations


def command() -> None:
    """Placeholder that its own commit replaces."""
    raise NotImplementedError
