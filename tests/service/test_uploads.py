"""Files that are sent: what they may be, and how much of them."""

import gzip
import hashlib
import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from autopeft.errors import InvalidInput
from tests.service.conftest import ROWS, Running, Start


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("rows.csv", ROWS)
    return buffer.getvalue()


class Evil:
    """Unpickled, it would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.mark), "w")


BAD = {
    "a ZIP archive": ("rows.csv", _zip()),
    "gzip": ("rows.jsonl", gzip.compress(ROWS.encode())),
    "nothing": ("rows.csv", b""),
    "blank lines": ("rows.csv", b"\n\n\n"),
    "bytes that are no text": ("rows.csv", b"text,label\n" + bytes(range(128, 256))),
    "a header alone": ("rows.csv", b"text,label\n"),
    "text with NUL": ("rows.tsv", b"text\tlabel\na\0\tb\n"),
    "CSV named Parquet": ("rows.parquet", ROWS.encode()),
    "a Parquet file that ends after its first bytes": ("rows.parquet", b"PAR1" + b"\0" * 100),
    "CSV named JSONL": ("rows.jsonl", ROWS.encode()),
    "rows of different lengths": ("rows.csv", b"a,b\n1,2,3\n4,5,6\n"),
    "an image": ("rows.csv", b"\x89PNG\r\n\x1a\n" + b"\0" * 64),
    "an executable": ("rows.tsv", b"\x7fELF\x02\x01\x01" + b"\0" * 64),
    "no suffix": ("rows", ROWS.encode()),
    "a suffix that is not taken": ("rows.pkl", ROWS.encode()),
    "a script": ("rows.py", b"print(1)"),
    "a name too long": ("x" * 300 + ".csv", ROWS.encode()),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_what_its_name_says_is_refused_and_leaves_nothing(service: Running, kind: str) -> None:
    answer = service.upload(*BAD[kind])
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"] and str(service.settings.home) not in answer.text
    assert "u-" not in answer.text
    assert service.client.get("/api/v1/uploads").json()["uploads"] == []
    assert not list((service.settings.home / "uploads").glob("*"))


def test_a_pickle_is_never_opened_whatever_it_is_called(service: Running, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps(Evil(mark))
    for suffix in ("csv", "tsv", "jsonl", "parquet"):
        assert service.upload(f"rows.{suffix}", content).status_code == 422
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ROWS.encode()),
        ("b.TSV", ROWS.replace(",", "\t").encode()),
        ("c.jsonl", b'{"text": "x", "label": "a"}\n'),
        ("mit Umlaut ä.csv", ROWS.encode()),
        ("with a mark.csv", b"\xef\xbb\xbf" + ROWS.encode()),
    ],
)
def test_a_file_is_kept_as_it_was_sent(service: Running, name: str, content: bytes) -> None:
    answer = service.upload(name, content)
    assert answer.status_code == 201, answer.text
    upload = answer.json()
    assert upload["name"] == name and upload["size"] == len(content) and upload["owner"] == "local"
    assert upload["digest"] == hashlib.sha256(content).hexdigest()
    assert upload["task"] == f"upload:{upload['id']}"
    (stored,) = (service.settings.home / "uploads").iterdir()
    assert stored.read_bytes() == content and stored.stem == upload["id"]
    assert service.client.get("/api/v1/uploads").json()["uploads"] == [upload]


def test_a_parquet_file_is_taken(service: Running) -> None:
    buffer = io.BytesIO()
    pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}).to_parquet(buffer)
    assert service.upload("rows.parquet", buffer.getvalue()).status_code == 201


def test_a_body_is_taken_with_its_name_in_the_query(service: Running) -> None:
    answer = service.client.post("/api/v1/uploads?name=rows.csv", content=ROWS.encode())
    assert answer.status_code == 201 and answer.json()["name"] == "rows.csv"
    assert service.client.post("/api/v1/uploads", content=ROWS.encode()).status_code == 422


def test_another_encoding_is_named(service: Running) -> None:
    content = ROWS.replace("good", "gött").encode("latin-1")
    assert service.upload("rows.csv", content).status_code == 422
    answer = service.client.post("/api/v1/uploads?encoding=latin-1", files={"file": ("rows.csv", content)})
    assert answer.status_code == 201
    for encoding in ("rot13", "nix", "base64", "../x"):
        answer = service.client.post(f"/api/v1/uploads?encoding={encoding}", files={"file": ("rows.csv", content)})
        assert answer.status_code == 422, encoding


@pytest.mark.parametrize(
    "name", ["../../evil.csv", "/etc/evil.csv", "C:\\evil.csv", "..\\..\\evil.csv", "a/b/evil.csv"]
)
def test_a_name_is_data_and_never_a_path(service: Running, name: str) -> None:
    answer = service.client.post("/api/v1/uploads", params={"name": name}, content=ROWS.encode())
    assert answer.status_code == 201 and answer.json()["name"] == "evil.csv"
    assert not list(service.settings.home.rglob("evil*")) and not Path("evil.csv").exists()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"--b\r\n\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n',
        ),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\ntext,label\na,b',
        ),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--a--\r\n',
        ),
    ],
)
def test_a_broken_form_is_refused(service: Running, content_type: str, body: bytes) -> None:
    answer = service.client.post("/api/v1/uploads", content=body, headers={"Content-Type": content_type})
    assert answer.status_code in (400, 422), answer.text
    assert service.client.get("/api/v1/uploads").json()["uploads"] == []


@pytest.mark.parametrize("name", ["rows.py\0.csv", "a\nb.csv", "\u202efdp.csv", ".csv", ""])
def test_a_name_that_cannot_be_shown_is_refused(service: Running, name: str) -> None:
    assert service.client.post("/api/v1/uploads", params={"name": name}, content=ROWS.encode()).status_code == 422


def test_a_form_is_read_in_any_pieces(service: Running) -> None:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="rows.csv"\r\nContent-Type: text/csv\r\n\r\n'
        + ROWS.encode()
        + b"\r\n--edge--\r\n"
    )
    for size in (1, 7, 64, len(body)):
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        headers = {"Content-Type": "multipart/form-data; boundary=edge"}
        answer = service.client.post("/api/v1/uploads", content=pieces, headers=headers)
        assert answer.status_code == 201, answer.text
        assert answer.json()["digest"] == hashlib.sha256(ROWS.encode()).hexdigest()


def test_a_file_above_the_limit_is_refused_however_it_comes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPEFT_UPLOAD_LIMIT", "1000")
    service = start()
    assert service.client.get("/api/v1/options").json()["upload_limit"] == 1000
    assert service.upload("rows.csv", b"text,label\n" + b"a,b\n" * 240).status_code == 201
    large = b"text,label\n" + b"a,b\n" * 100_000

    def in_pieces() -> Iterator[bytes]:
        for at in range(0, len(large), 4096):
            yield large[at : at + 4096]

    assert service.upload("rows.csv", large[:1500]).status_code == 413
    assert service.upload("rows.csv", large).status_code == 413
    assert service.client.post("/api/v1/uploads?name=rows.csv", content=in_pieces()).status_code == 413
    assert len(service.client.get("/api/v1/uploads").json()["uploads"]) == 1
    assert len(list((service.settings.home / "uploads").iterdir())) == 1


def test_all_files_of_an_owner_have_a_quota_that_others_do_not_share(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPEFT_UPLOAD_QUOTA", str(2 * len(ROWS)))
    service = start()
    ada, grace = service.token("submit"), service.token("submit", owner="grace")
    assert [service.upload(**ada).status_code for _ in range(2)] == [201, 201]
    refused = service.upload("more.csv", b"text,label\na,b\n", **ada)
    assert refused.status_code == 413 and refused.headers["content-type"] == "application/problem+json"
    (error,) = refused.json()["errors"]
    assert (error["field"], error["value"]) == ("file", "more.csv")
    assert f"more than {2 * len(ROWS)} bytes" in error["remedy"] and "AUTOPEFT_UPLOAD_QUOTA" in error["remedy"]
    assert service.upload(**grace).status_code == 201
    assert len(service.client.get("/api/v1/uploads", headers=ada).json()["uploads"]) == 3
    assert len(list((service.settings.home / "uploads").iterdir())) == 3


def test_files_that_are_sent_at_once_share_the_quota(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPEFT_UPLOAD_QUOTA", str(2 * len(ROWS)))
    service = start()
    # None of them has been recorded when the last one begins.
    monkeypatch.setattr(service.store.uploads, "used", lambda owner: 0)
    assert [service.upload().status_code for _ in range(3)] == [201, 201, 413]
    assert len(list((service.settings.home / "uploads").iterdir())) == 2


@pytest.mark.parametrize("text", ["0", "5 GB", "-1", ""])
def test_a_quota_that_is_no_number_of_bytes_is_refused_at_the_start(
    start: Start, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AUTOPEFT_UPLOAD_QUOTA", text)
    with pytest.raises(InvalidInput, match="AUTOPEFT_UPLOAD_QUOTA = .*must be a number of bytes"):
        start()
