"""From what pydantic says about a document to what a person is told: at which key, what is wrong, what to write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from autopeft.errors import Problem

# What an error of this type says that the value must be. In a union it says that another member was meant.
KINDS = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
BOUNDS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be {le} or less",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} entries at most",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} characters at most",
    "finite_number": "must be a finite number",
}
KEY = "[key]"  # the last part of an error's path where the key itself is wrong
Path = tuple[int | str, ...]


@dataclass(frozen=True)
class _Mistake:
    """One of pydantic's errors.

    Attributes:
        order: its place among them.
        path: the keys that lead to it in the document.
        branches: the members of unions that pydantic tried on its way, each with the path of its union.
    """

    order: int
    path: Path
    branches: tuple[tuple[Path, str], ...]
    item: Mapping[str, Any]

    @property
    def kind(self) -> str | None:
        """What the value must be, if it is of another kind altogether, or not one of the words that it may be."""
        if self.item["type"] == "literal_error":
            return str(self.item["ctx"]["expected"])
        return KINDS.get(self.item["type"])

    @property
    def shown(self) -> object:
        """The value, if it is short enough to be shown."""
        value = self.item["input"]
        return value if isinstance(value, (str, int, float, bool)) else None


def explain(error: ValidationError, model: type[BaseModel], document: Mapping[str, Any]) -> list[tuple[str, Problem]]:
    """Return each mistake as the path of its key and a problem without a field, in the order of the model's keys."""
    mistakes = [_locate(order, item, document) for order, item in enumerate(error.errors(include_url=False))]
    settled = sorted(_settle(mistakes, 0, model), key=lambda pair: pair[0].order)
    return [(".".join(map(str, mistake.path)), problem) for mistake, problem in settled]


def _locate(order: int, item: Mapping[str, Any], document: Mapping[str, Any]) -> _Mistake:
    path: list[int | str] = []
    branches: list[tuple[Path, str]] = []
    value: Any = document
    for index, part in enumerate(item["loc"]):
        last = index == len(item["loc"]) - 1
        inside = part in value if isinstance(value, Mapping) else isinstance(value, Sequence) and isinstance(part, int)
        if inside:
            path.append(part)
            value = value[part]
        elif last and item["type"] == "missing":
            path.append(part)
        elif part != KEY:
            branches.append((tuple(path), str(part)))
    return _Mistake(order, tuple(path), tuple(branches), item)


def _settle(mistakes: Iterable[_Mistake], depth: int, model: type[BaseModel]) -> Iterator[tuple[_Mistake, Problem]]:
    """Yield the mistakes of the member of each union that was meant: the one that the value's kind fits."""
    unions: dict[Path, dict[str, list[_Mistake]]] = {}
    for mistake in mistakes:
        if len(mistake.branches) <= depth:
            yield mistake, _problem(mistake, model)
        else:
            union, member = mistake.branches[depth]
            unions.setdefault(union, {}).setdefault(member, []).append(mistake)
    for union, members in unions.items():
        meant = [own for own in members.values() if not any(m.kind and m.path == union for m in own)]
        if meant:
            fewest = min(meant, key=len)
            yield from _settle(fewest, depth + 1, model)
        else:
            every = [mistake for own in members.values() for mistake in own]
            kinds = dict.fromkeys(mistake.kind for mistake in every if mistake.path == union and mistake.kind)
            yield every[0], Problem("", every[0].shown, f"must be {_either(list(kinds))}")


def _problem(mistake: _Mistake, model: type[BaseModel]) -> Problem:
    item = mistake.item
    if item["loc"][-1] == KEY:
        return Problem("", None, "a key must be text")
    if item["type"] == "missing":
        return Problem("", None, "missing")
    if item["type"] == "extra_forbidden":
        return Problem("", None, _unknown_key(str(mistake.path[-1]), _keys_at(model, mistake.path[:-1])))
    if mistake.kind:
        return Problem("", mistake.shown, f"must be {mistake.kind}")
    if item["type"] == "value_error":
        return Problem("", mistake.shown, str(item["ctx"]["error"]))
    if item["type"] in BOUNDS:
        return Problem("", mistake.shown, BOUNDS[item["type"]].format(**item.get("ctx", {})))
    return Problem("", mistake.shown, str(item["msg"]).replace("Input should be", "must be"))


def _either(expected: list[str]) -> str:
    # Words that the value may be come as one text: 'all', 'mask' or 'range'.
    kinds = [kind for text in expected for kind in (re.findall(r"'[^']*'", text) or [text])]
    if "a number" in kinds and "a whole number" in kinds:
        kinds.remove("a whole number")
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"


def _unknown_key(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    return f"unknown key; {f'did you mean {near[0]}? ' if near else ''}known: {', '.join(names)}"


@cache
def _schema_of(model: type[BaseModel]) -> Mapping[str, Any]:
    return model.model_json_schema()


def _keys_at(model: type[BaseModel], path: Path) -> set[str]:
    schema = _schema_of(model)
    nodes = list(_members(schema, schema))
    for part in path:
        below = [child for node in nodes for child in _below(node, part)]
        nodes = [member for child in below for member in _members(child, schema)]
    return {key for node in nodes for key in node.get("properties", {})}


def _members(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas that a node stands for: itself, what it refers to, or the members of its union."""
    if "$ref" in node:
        yield from _members(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    elif "anyOf" in node:
        for member in node["anyOf"]:
            yield from _members(member, schema)
    else:
        yield node


def _below(node: Mapping[str, Any], part: int | str) -> Iterator[Mapping[str, Any]]:
    key = "items" if isinstance(part, int) else "additionalProperties"
    child = node.get("properties", {}).get(part, node.get(key))
    if isinstance(child, Mapping):
        yield child
