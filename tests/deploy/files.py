"""The deployment files, read."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def read_yaml(name: str) -> Any:
    """Return a file of the repository, with its anchors and merges resolved to plain values."""
    return json.loads(json.dumps(yaml.safe_load(ROOT.joinpath(name).read_text(encoding="utf-8"))))


def pinned(name: str = "constraints.txt") -> dict[str, str]:
    """Return the versions that a file of constraints pins, by package."""
    lines = ROOT.joinpath(name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))
