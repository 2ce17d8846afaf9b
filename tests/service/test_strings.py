"""Strings that have broken other services, through every field that takes text.

None of them may be read or written as a path, be asked of the network, be run by the database, or come back as markup.
"""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect

from tests.service.conftest import ROWS, Checking, Running, finish

CANARY = "canary-2f7c"


def _path_strings(folder: Path) -> list[str]:
    """Sixty ways to name a file that is there, or that is there on every machine."""
    targets = [f"{folder}/{CANARY}.csv", f"{folder}/{CANARY}", "/etc/passwd", "/proc/self/environ", "/dev/zero"]
    up = [
        "..",
        "..%2f..%2f",
        "%2e%2e/",
        "....//",
        "..\\..\\",
        "..;/",
        "%252e%252e%252f",
        "..%c0%af",
        "．．／",
        ".%00./",
    ]
    forms = [
        *targets,
        *(f"file://{target}" for target in targets),
        *(f"{dots}/{dots}/{dots}{target}" for dots, target in itertools.product(up, targets[:3])),
        *(f"hf:{target}" for target in targets),
        *("~", "~root/.ssh/id_rsa", ".", "./", "a/../../b", "glue/../../etc/passwd", "C:\\Windows\\win.ini"),
        *("preset:../autopeft", "org/../../etc", "upload:../../x", "upload:u-0123456789abcdef/../x", "a/b@../../c"),
        *(f"{targets[0]}#x", f"{targets[0]}?x", f"//{targets[0]}", "\\\\host\\share\\x"),
    ]
    return list(dict.fromkeys(forms))


SCRIPTS = [
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "javascript:alert(1)"),
    *('"><script>alert(1)</script>', "'-alert(1)-'", "</script><script>alert(1)</script>", "{{7*7}}", "${7*7}"),
    *("<iframe srcdoc='<script>alert(1)</script>'>", "<a href=javascript:alert(1)>x</a>", "<body onload=alert(1)>"),
    *("<math><mtext></mtext><script>1</script>", "<style>*{}</style>", "<base href=//evil.example>", "<!--", "]]>"),
    *("\u2028alert(1)", "&lt;script&gt;", "<details open ontoggle=alert(1)>"),
]
SQL = [
    *(
        "' OR '1'='1",
        "'; DROP TABLE autopeft_searches; --",
        '" OR 1=1 --',
        "1; SELECT pg_sleep(10)",
        "x' UNION SELECT 1",
    ),
    *(
        "'||(SELECT 1)||'",
        "%' OR 'a' LIKE '%",
        "\\'; --",
        "') OR ('1'='1",
        "1' AND SLEEP(5)#",
        "admin'--",
        "' AND 1=0",
    ),
    *(
        "';ATTACH DATABASE 'x.db' AS x;--",
        "0x27",
        "CHAR(39)",
        "x');DELETE FROM autopeft_tokens;--",
        "{}",
        "%s",
        ":name",
    ),
    "' /* */ --",
]
URLS = [
    *("http://127.0.0.1:1/", "http://169.254.169.254/latest/meta-data/", "https://localhost/x", "http://[::1]/"),
    *("ftp://127.0.0.1/x", "gopher://127.0.0.1/", "s3://bucket/x", "gs://bucket/x", "hf://datasets/a/b", "http://0/"),
    *("simplecache::http://127.0.0.1/x", "zip://x::http://127.0.0.1/", "http://0x7f000001/", "http://127.1/x.csv"),
    *(
        "//127.0.0.1/x",
        "http:127.0.0.1",
        "hf:http://127.0.0.1/x",
        "glue/http://127.0.0.1",
        "ssh://127.0.0.1",
        "data:,x",
    ),
]
# Those that name something to be found are tried one by one: a mistake in one of them can hide another.
ALONE = ("model", "task", "task.name", "task.encoding", "space", "warm_start", "table")
TOGETHER = (
    *("name", "task.text", "task.label", "task.score", "task.metric", "budget", "max_params", "objectives", "caps"),
    *("param_budgets", "sampler", "policy", "executor", "quantise", "precision"),
)


def _body(text: str, fields: Iterable[str], task: str) -> dict[str, Any]:
    body: dict[str, Any] = {"budget": 3, "executor": "inline", "task": {"name": task}}
    for field in fields:
        top, _, below = field.partition(".")
        if below:
            body[top][below] = [text] if below == "text" else text
        else:
            body[field] = {"memory": text} if field == "caps" else text
    return body


@pytest.mark.parametrize("fields", [*((field,) for field in ALONE), TOGETHER], ids=lambda fields: fields[0])
def test_no_string_in_any_field_is_a_path_an_address_or_a_statement(
    service: Running, checking: Checking, tmp_path: Path, fields: tuple[str, ...]
) -> None:
    (tmp_path / f"{CANARY}.csv").write_text(ROWS)
    (tmp_path / CANARY).mkdir()
    task = service.upload().json()["task"]
    tables = set(inspect(service.store._sessions.engine).get_table_names())
    before = len(checking.watched.read_bytes())
    paths = _path_strings(tmp_path)
    assert len(paths) >= 60 and min(len(SCRIPTS), len(SQL), len(URLS)) >= 20
    for text in (*paths, *SCRIPTS, *SQL, *URLS):
        answer = service.client.post("/api/v1/checks", json=_body(text, fields, task))
        assert answer.status_code == 200, (text, answer.text)
        assert answer.headers["content-type"] == "application/json"
        assert not answer.json()["valid"], text
    seen = checking.watched.read_bytes()[before:].decode(errors="replace").splitlines()
    assert [line for line in seen if line.startswith("socket.")] == []
    assert not [line for line in seen if CANARY in line or "/etc/passwd" in line or "win.ini" in line]
    assert set(inspect(service.store._sessions.engine).get_table_names()) == tables
    assert service.store.list() == []


@pytest.mark.parametrize("text", [*SCRIPTS, *SQL])
def test_a_name_is_stored_and_shown_as_it_is(service: Running, text: str) -> None:
    record = finish(service.store, text)
    answer = service.client.get(f"/api/v1/searches/{record.id}")
    assert answer.json()["name"] == text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    header = service.client.get(f"/api/v1/searches/{record.id}/recipe").headers["content-disposition"]
    assert header.isascii() and header.count('"') == 2


def test_paths_in_the_address_lead_nowhere(service: Running, tmp_path: Path) -> None:
    (tmp_path / f"{CANARY}.csv").write_text(ROWS)
    for text in _path_strings(tmp_path):
        for path in (
            f"/{text.lstrip('/')}",
            f"/ui/{text}",
            f"/static/{text}",
            f"/api/v1/searches/{text}",
            f"/artifacts/{text}",
        ):
            answer = service.client.get(path.replace("#", "%23").replace("?", "%3f"))
            assert answer.status_code in (200, 400, 403, 404, 405, 422), (path, answer.status_code)
            assert "root:" not in answer.text and ROWS[:30] not in answer.text, path


def test_what_is_wrong_is_told_as_json_and_never_as_a_page(service: Running) -> None:
    for text in SCRIPTS:
        answer = service.client.get(f"/api/v1/searches/{text.replace('/', '%2f')}")
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.text)["status"] in (404, 405)
