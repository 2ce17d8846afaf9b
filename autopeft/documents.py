"""Reading YAML documents that people write: safely, within bounds, and with every mistake reported at once."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from autopeft.errors import InvalidInput, Problem

MOST_BYTES = 64 * 1024
Document = TypeVar("Document", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases, which can make a small file expand without bound, and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                message = f"the key {key_node.value!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, message, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Read a YAML file of at most ``most_bytes`` that holds one mapping.

    Raises:
        InvalidInput: the file is missing, too large, not UTF-8, not YAML, or holds something else.
    """
    if not path.is_file():
        raise InvalidInput(Problem("file", str(path), "no such file"))
    if path.stat().st_size > most_bytes:
        raise InvalidInput(Problem("file", str(path), f"larger than {most_bytes} bytes"))
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise InvalidInput(Problem("file", str(path), f"not UTF-8 at byte {error.start}")) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(Problem("file", str(path), f"not valid YAML: {error}")) from error
    if not isinstance(document, dict):
        raise InvalidInput(Problem("file", str(path), "must hold a mapping of keys to values"))
    return {str(key): value for key, value in document.items()}


def parse(model: type[Document], document: dict[str, Any], origin: str) -> Document:
    """Check a document against its model.

    Raises:
        InvalidInput: with every problem at its path, and the nearest known key where one is unknown.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False):
            path = ".".join(str(part) for part in item["loc"] if not _is_branch(part))
            problems.append(Problem(f"{origin}: {path}", *_explain(item, model)))
        raise InvalidInput(*dict.fromkeys(problems)) from error


def _is_branch(part: int | str) -> bool:
    # pydantic names the member of a union that it tried, as `Sizes` or `constrained-str`; a person did not write that.
    return isinstance(part, str) and (part[:1].isupper() or "[" in part or part.startswith("constrained"))


def _explain(item: Any, model: type[BaseModel]) -> tuple[object, str]:
    if item["type"] == "extra_forbidden":
        known = sorted(_all_keys(model))
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.6)
        return None, f"unknown key{f'; did you mean {near[0]}?' if near else ''}"
    if item["type"] == "missing":
        return None, "missing"
    value = item["input"]
    return (value if isinstance(value, (str, int, float, bool, type(None))) else None), str(item["msg"])


def _all_keys(model: type[BaseModel]) -> set[str]:
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}
