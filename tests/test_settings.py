"""Settings from the environment, and from the files that it names."""

import os
from pathlib import Path

import pytest

from autopeft.errors import InvalidInput
from autopeft.settings import Settings, empty_folder


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in ("AUTOPEFT_HOME", "AUTOPEFT_DATABASE_URL", "AUTOPEFT_RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setenv("AUTOPEFT_HOME", str(tmp_path))


@pytest.mark.parametrize("content", ["postgresql+psycopg://me:p@db/x", "postgresql+psycopg://me:p@db/x\n"])
def test_a_secret_is_read_from_its_file(monkeypatch, tmp_path, content):
    file = tmp_path / "url"
    file.write_text(content)
    monkeypatch.setenv("AUTOPEFT_DATABASE_URL_FILE", str(file))
    assert Settings.from_environment().database_url == "postgresql+psycopg://me:p@db/x"


def test_without_either_there_is_the_default(tmp_path):
    found = Settings.from_environment()
    assert found.database_url == f"sqlite:///{tmp_path / 'autopeft.db'}" and found.ray_address is None


def test_a_variable_and_its_file_at_once_are_refused_without_the_value(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOPEFT_DATABASE_URL", "postgresql+psycopg://me:hidden@db/x")
    monkeypatch.setenv("AUTOPEFT_DATABASE_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(InvalidInput, match="AUTOPEFT_DATABASE_URL is set, too") as refused:
        Settings.from_environment()
    assert "hidden" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOPEFT_RAY_ADDRESS_FILE", str(tmp_path / "gone"))
    with pytest.raises(InvalidInput, match=r"AUTOPEFT_RAY_ADDRESS_FILE = .*gone.*cannot be read"):
        Settings.from_environment()


def test_in_an_empty_folder_the_environment_means_the_same_and_secrets_stay_in_their_files(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("postgresql+psycopg://me:hidden@db/x")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "AUTOPEFT_HOME": "data",
        "AUTOPEFT_DATABASE_URL_FILE": "secret",
        "AUTOPEFT_RAY_ADDRESS": "head:6379",
        "RAY_AUTH_TOKEN_PATH": "ray token",
        "PYTHONPATH": f"code{os.pathsep}/more",
    }.items():
        monkeypatch.setenv(name, value)
    before = Settings.from_environment()
    with empty_folder():
        assert list(Path.cwd().iterdir()) == [] and Path.cwd() != tmp_path
        assert Settings.from_environment() == before
        assert before.database_url.endswith("hidden@db/x") and "hidden" not in str(dict(os.environ))
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "ray token")
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "code"), "/more"]
    assert Path.cwd() == tmp_path and os.environ["AUTOPEFT_HOME"] == "data"


@pytest.mark.parametrize("given", ["AUTOPEFT_DATABASE_URL", "AUTOPEFT_DATABASE_URL_FILE"])
def test_a_relative_sqlite_file_is_the_same_one_in_an_empty_folder(monkeypatch, tmp_path, given):
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///my%20data.db"
    (tmp_path / "url").write_text(url)
    monkeypatch.setenv(given, url if given == "AUTOPEFT_DATABASE_URL" else "url")
    with empty_folder():
        assert Settings.from_environment().database_url == f"sqlite:///{tmp_path}/my%20data.db"
