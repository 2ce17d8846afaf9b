"""docs/rest.md and the service say the same."""

import json
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.routing import Mount

from tests.service.conftest import ROWS, Running, finish

TEXT = Path(__file__).parents[2].joinpath("docs", "rest.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
CURLS = [line for line in LINES if line.startswith("curl ")]


def test_the_table_has_every_route(service: Running) -> None:
    api = next(route.app for route in service.app.routes if isinstance(route, Mount) and route.path == "/api/v1")
    there = {f"{method.upper()} {path}" for path, methods in api.openapi()["paths"].items() for method in methods}
    rows = re.findall(r"^\| (`.*?`) \|", TEXT, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`((?:GET|POST|DELETE) [^`]+)`", row)}
    assert named == there


def test_there_are_examples() -> None:
    assert len(CURLS) >= 12


@pytest.mark.parametrize("line", CURLS, ids=range(len(CURLS)))
def test_every_example_works(service: Running, line: str) -> None:
    finish(service.store)
    task = service.upload().json()["task"]
    words = shlex.split(line)[1:]
    headers, body, files, method, url = {}, None, None, None, ""
    while words:
        word = words.pop(0)
        if word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = json.loads(words.pop(0).replace("upload:u-0123456789abcdef", task))
        elif word == "-F":
            files = {"file": (words.pop(0).partition("@")[2], ROWS.encode())}
        elif word == "-X":
            method = words.pop(0)
        elif word == "-o":
            words.pop(0)
        elif not word.startswith("-"):
            url = word
    parts = urlsplit(url)
    if body is not None and "name" in body:
        body["name"] = "another"  # the search of the other examples is there already
    method = method or ("POST" if body is not None or files else "GET")
    answer = service.client.request(
        method, f"{parts.path}?{parts.query}", json=body, files=files, headers=headers or None
    )
    assert answer.is_success, answer.text
    if parts.path.endswith("/checks"):
        assert answer.json()["valid"]
