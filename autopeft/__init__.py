"""AutoPEFT: which PEFT configuration should I train? See :class:`autopeft.Search`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopeft.answer import Answer, Row
    from autopeft.architecture import Architecture, Placement
    from autopeft.errors import AutopeftError
    from autopeft.search import Search

__all__ = ["Answer", "Architecture", "AutopeftError", "Placement", "Row", "Search"]

_HOMES = {
    "Answer": "autopeft.answer",
    "Architecture": "autopeft.architecture",
    "AutopeftError": "autopeft.errors",
    "Placement": "autopeft.architecture",
    "Row": "autopeft.answer",
    "Search": "autopeft.search",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `import autopeft` and the command line's help come without torch.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'autopeft' has no attribute {name!r}")
