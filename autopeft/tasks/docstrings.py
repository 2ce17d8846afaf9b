"""The task ``docstrings``: which installed package does a docstring's first paragraph come from?

Real text with no download: the packages are dependencies of AutoPEFT. The rows depend on their versions, so the
task's fingerprint does too.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from autopeft.messages import TaskSpec
from autopeft.settings import Settings
from autopeft.storage import write_atomically
from autopeft.tasks.base import RawTask, Rows, TaskSource

# Import name and distribution of each class.
PACKAGES = {
    "matplotlib": "matplotlib",
    "networkx": "networkx",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "sqlalchemy": "sqlalchemy",
    "sympy": "sympy",
}
TRAIN, VALIDATION, TEST = 320, 100, 100  # rows a class
SHORTEST, LONGEST = 40, 240  # characters of a paragraph
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# What may hold a definition.
BLOCK = ast.stmt | ast.ExceptHandler | ast.match_case


def _read(spec: TaskSpec) -> RawTask:
    versions = {name: importlib.metadata.version(distribution) for name, distribution in PACKAGES.items()}
    key = hashlib.sha256(json.dumps([versions, TRAIN, VALIDATION, TEST, SHORTEST, LONGEST]).encode()).hexdigest()[:16]
    cache = Settings.from_environment().home / "cache" / f"docstrings-{key}.json"
    if cache.exists():
        paragraphs = json.loads(cache.read_text(encoding="utf-8"))
    else:
        paragraphs = _collect()
        write_atomically(cache, json.dumps(paragraphs))
    cuts = {"train": (0, TRAIN), "validation": (TRAIN, TRAIN + VALIDATION), "test": (TRAIN + VALIDATION, None)}
    splits = {}
    for name, (start, end) in cuts.items():
        pairs = [(text, package) for package, texts in paragraphs.items() for text in texts[start:end]]
        pairs.sort(key=lambda pair: _digest(pair[0]))
        splits[name] = Rows([p[0] for p in pairs], None, [p[1] for p in pairs], f"docstrings/{name}")
    return RawTask("classification", splits["train"], splits["validation"], splits["test"])


def _collect() -> dict[str, list[str]]:
    wanted = TRAIN + VALIDATION + TEST
    candidates = {package: _candidates(package, wanted * 5 // 4) for package in PACKAGES}
    owners = Counter(text for texts in candidates.values() for text in texts)
    chosen = {}
    for package, texts in candidates.items():
        own = [text for text in texts if owners[text] == 1]
        chosen[package] = sorted(own, key=_digest)[:wanted]
    return chosen


def _candidates(package: str, enough: int) -> set[str]:
    found: set[str] = set()
    for path in _source_files(package):
        found.update(_first_paragraphs(path))
        if len(found) >= enough:
            break
    return found


def _source_files(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is a dependency of autopeft"
    root = Path(spec.origin).parent
    files = [path for path in root.rglob("*.py") if not {"tests", "test"} & set(path.relative_to(root).parts)]
    # In an order that is the same everywhere and mixes the package's parts.
    return sorted(files, key=lambda path: _digest(path.relative_to(root).as_posix()))


def _first_paragraphs(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for definition in _definitions(tree):
        docstring = ast.get_docstring(definition)
        if docstring:
            paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
            if SHORTEST <= len(paragraph) <= LONGEST:
                yield paragraph


def _definitions(tree: ast.Module) -> Iterator[Definition]:
    """Yield every function and class, at whatever depth; expressions, of which there are most, hold none."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, Definition):
            yield node
        left += [child for child in ast.iter_child_nodes(node) if isinstance(child, BLOCK)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


TASK_SOURCE = TaskSource(
    summary="which installed package a docstring comes from (8 classes, real text, offline)",
    example="docstrings",
    accepts=lambda name: name == "docstrings",
    read=_read,
)
