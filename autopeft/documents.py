"""Reading YAML documents that people write: safely, within bounds, and with every mistake reported at once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from autopeft.errors import InvalidInput, Problem
from autopeft.mistakes import explain

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
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key_node.value in seen:
                message = f"the key {key_node.value!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, message, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


# PyYAML reads YAML 1.1, where `1e-4` is text; in YAML 1.2, as people know it, it is a number.
_EXPONENT = re.compile(r"[-+]?\d[\d_]*(?:\.[\d_]*)?[eE][-+]?\d+\Z")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


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
    except OSError as error:
        raise InvalidInput(Problem("file", str(path), f"cannot be read: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(Problem("file", str(path), f"not UTF-8 at byte {error.start}")) from error
    except RecursionError as error:
        raise InvalidInput(Problem("file", str(path), "nested too deeply")) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a date that does not exist, and the like
        raise InvalidInput(Problem("file", str(path), f"not valid YAML: {_in_one_line(error)}")) from error
    if not isinstance(document, dict):
        raise InvalidInput(Problem("file", str(path), "must hold a mapping of keys to values"))
    return {str(key): value for key, value in document.items()}


def _in_one_line(error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error).split("\n")[0]
    mark = error.problem_mark
    return f"{error.problem}, line {mark.line + 1}, column {mark.column + 1}"


def parse(model: type[Document], document: dict[str, Any], origin: str) -> Document:
    """Check a document against its model.

    Raises:
        InvalidInput: with every problem at its path, and the nearest known key where one is unknown.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(*_problems(error, model, document, f"{origin}: ")) from error


def parse_rest(model: type[Document], document: dict[str, Any]) -> tuple[Document, list[Problem]]:
    """Check a document against a model that needs no key, and return what is right of it with every problem.

    What else may be wrong with the rest can then be told at the same time.
    """
    try:
        return model.model_validate(document), []
    except ValidationError as error:
        wrong = {item["loc"][0] for item in error.errors()}
        rest = {key: value for key, value in document.items() if key not in wrong}
        return model.model_validate(rest), _problems(error, model, document, "")


def _problems(error: ValidationError, model: type[BaseModel], document: dict[str, Any], origin: str) -> list[Problem]:
    return [replace(problem, field=f"{origin}{path}") for path, problem in explain(error, model, document)]
