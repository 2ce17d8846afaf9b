"""Results of a long benchmark, kept in a file as they come, so that it can be stopped and started."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from autopeft.storage import write_atomically

T = TypeVar("T")
CONDITIONS = "conditions"


class Kept:
    """Results by key.

    Args:
        path: of the file; None keeps them in memory alone.
        conditions: what all results were made under; a file of others is not gone on with.
    """

    def __init__(self, path: Path | None, conditions: dict[str, Any]) -> None:
        self._path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path and path.exists() else {}
        conditions = json.loads(json.dumps(conditions))
        if self.found.setdefault(CONDITIONS, conditions) != conditions:
            raise SystemExit(f"{path} was made under other conditions: {self.found[CONDITIONS]}, not {conditions}")

    def __contains__(self, key: str) -> bool:
        return key in self.found

    def get(self, key: str, compute: Callable[[], T]) -> T:
        """Return what is kept, or compute it and keep it; it must be JSON values."""
        if key not in self.found:
            self.put(key, compute())
        found: T = self.found[key]
        return found

    def put(self, key: str, value: Any) -> None:
        """Keep a result."""
        self.found[key] = value
        if self._path:
            write_atomically(self._path, json.dumps(self.found))
