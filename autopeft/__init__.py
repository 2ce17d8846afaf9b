"""AutoPEFT: which PEFT configuration should I train? See :class:`autopeft.Search`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopeft.answer import Answer, Row
    from autopeft.architecture import Architecture, Placement
    from autopeft.base_models import describe_model
    from autopeft.baselines import preset
    from autopeft.errors import AutopeftError
    from autopeft.search import Search
    from autopeft.space import load_space

__all__ = [
    "Answer",
    "Architecture",
    "AutopeftError",
    "Placement",
    "Row",
    "Search",
    "describe_model",
    "load_space",
    "preset",
]

_HOMES = {
    "Answer": "autopeft.answer",
    "Architecture": "autopeft.architecture",
    "AutopeftError": "autopeft.errors",
    "Placement": "autopeft.architecture",
    "Row": "autopeft.answer",
    "Search": "autopeft.search",
    "describe_model": "autopeft.base_models",
    "load_space": "autopeft.space",
    "preset": "autopeft.baselines",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `import autopeft` and the command line's help come without torch.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'autopeft' has no attribute {name!r}")
