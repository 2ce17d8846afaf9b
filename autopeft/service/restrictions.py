"""What may be asked for over REST: names alone. Nothing that could be a path or a URL gets further."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from autopeft.errors import Problem
from autopeft.service.curtain import UPLOAD, UPLOAD_ID

PART = r"[A-Za-z0-9][\w.-]*"
REVISION = r"(?:@[A-Za-z0-9][\w./-]*)?"
MODEL = re.compile(rf"[A-Za-z0-9][\w-]*|{PART}/[\w.-]+{REVISION}", re.ASCII)
SPACE = re.compile(r"(?:preset:)?[A-Za-z0-9][\w-]*", re.ASCII)
TASK = re.compile(
    rf"[A-Za-z0-9]\w*|glue/\w+|hf:{PART}/{PART}(?:/{PART})?{REVISION}|{UPLOAD}{UPLOAD_ID}",
    re.ASCII,
)
EXECUTORS = ("ray", "inline")
WORD = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
TASKS = "docstrings, glue/NAME, hf:ORGANISATION/DATASET[/CONFIG][@REVISION] or upload:ID"
REMEDIES = {
    "model": "not a name that is taken over REST; give a bundled model, or ORGANISATION/NAME[@REVISION] of the hub",
    "space": "not a name that is taken over REST; give a shipped space, or preset:NAME",
    "task": f"not a name that is taken over REST; give {TASKS}",
    "executor": f"not over REST; give {' or '.join(EXECUTORS)}",
    "table": "a file of the service's machine, which is not read over REST; leave it out",
}
Allowed = Callable[[str], bool]


def restrict(document: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return what may go on of a request, and a problem for each field that may not.

    A value of the wrong kind goes on: checking the request tells of it.
    """
    rest, problems = dict(document), []
    for field, allowed in _ALLOWED.items():
        value = document.get(field)
        if isinstance(value, str) and not allowed(value):
            problems.append(Problem(field, value, REMEDIES[field]))
            del rest[field]
    if document.get("table") is not None:
        problems.append(Problem("table", document["table"], REMEDIES["table"]))
        del rest["table"]
    task = document.get("task")
    if isinstance(task, dict):
        wrong = list(_task_problems(task))
        if wrong:
            problems += wrong
            del rest["task"]
    return rest, problems


def _task_problems(task: dict[str, Any]) -> list[Problem]:
    problems = []
    name, encoding = task.get("name"), task.get("encoding")
    if isinstance(name, str) and not _is_plain(TASK, name):
        problems.append(Problem("task.name", name, REMEDIES["task"]))
    if isinstance(encoding, str) and not WORD.fullmatch(encoding):
        problems.append(Problem("task.encoding", encoding, "not the name of an encoding"))
    return problems


def _is_plain(pattern: re.Pattern[str], name: str) -> bool:
    return pattern.fullmatch(name) is not None and ".." not in name


_ALLOWED: dict[str, Allowed] = {
    "model": lambda name: _is_plain(MODEL, name),
    "space": lambda name: _is_plain(SPACE, name),
    "task": lambda name: _is_plain(TASK, name),
    "executor": lambda name: name in EXECUTORS,
}
