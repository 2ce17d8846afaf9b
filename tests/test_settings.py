"""Settings from the environment, and from the files that it names."""

import pytest

from autopeft.errors import InvalidInput
from autopeft.settings import Settings


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
