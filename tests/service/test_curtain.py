"""Paths are replaced as whole paths, and never inside a name that only looks like one."""

import sys
from pathlib import Path

import pytest

from autopeft.service.curtain import Curtain
from autopeft.settings import Settings


@pytest.fixture
def curtain(monkeypatch):
    """Of an image: a home of one short word, and a user's folder and a Python that are short too."""
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(Path, "home", lambda: Path("/app"))
    return Curtain(Settings(home=Path("/data"), database_url="sqlite://", ray_address=None))


@pytest.mark.parametrize(
    "text",
    [
        "hf:acme/dataset-x",
        "acme/data2vec",
        "model: acme/data",
        "../data/train.csv",
        "~/data/train.csv",
        "/mnt/data/train.csv",
        "/data.old/train.csv",
        "/data-2/train.csv",
        "/datas",
        "org/usr-model and org/apple",
    ],
)
def test_what_only_looks_like_a_place_is_left_alone(curtain, text):
    assert curtain.text(text) == text
    assert curtain.json({"text": text, "more": [text]}) == f'{{"text":"{text}","more":["{text}"]}}'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data", "AUTOPEFT_HOME"),
        ("no folder /data.", "no folder AUTOPEFT_HOME."),
        ("/data/searches/s1", "AUTOPEFT_HOME/searches/s1"),
        ("sqlite:////data/a.db", "sqlite:///AUTOPEFT_HOME/a.db"),
        ('open("/data/a", "/app/b")', 'open("AUTOPEFT_HOME/a", "~/b")'),
        ("at\n/usr/lib/python3/x.py:7", "at\nPYTHON/lib/python3/x.py:7"),
        ("/data/uploads/u-0123456789abcdef.csv", "upload:u-0123456789abcdef"),
    ],
)
def test_a_place_is_called_by_its_kind(curtain, text, shown):
    assert curtain.text(text) == shown
    assert "/data" not in curtain.json([text]) and "/app" not in curtain.json([text])
