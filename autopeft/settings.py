"""Where AutoPEFT keeps its data and how it reaches its services, from the environment."""

from __future__ import annotations

import os
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from autopeft.errors import InvalidInput, Problem

OWN = ("AUTOPEFT_HOME", "AUTOPEFT_DATABASE_URL", "AUTOPEFT_RAY_ADDRESS")
# Variables of others that name a file or folder.
PATHS = ("HF_HOME", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Settings:
    """The environment as AutoPEFT reads it.

    ``AUTOPEFT_HOME`` (data folder), ``AUTOPEFT_DATABASE_URL`` (SQLAlchemy URL; SQLite in the data folder if
    unset), ``AUTOPEFT_RAY_ADDRESS`` (a running Ray cluster; a local Ray is started if unset). In place of any of them,
    the same name with ``_FILE`` names a file that holds the value, as containers are given their secrets.
    """

    home: Path
    database_url: str
    ray_address: str | None

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the settings now; nothing is created on disk.

        Raises:
            InvalidInput: a variable and its file are both given, or the file cannot be read.
        """
        home = Path(read_variable("AUTOPEFT_HOME") or platformdirs.user_data_dir("autopeft"))
        home = home.expanduser().resolve()
        return cls(
            home=home,
            database_url=read_variable("AUTOPEFT_DATABASE_URL")
            or f"sqlite:///{urllib.parse.quote(str(home / 'autopeft.db'))}",
            ray_address=read_variable("AUTOPEFT_RAY_ADDRESS"),
        )

    def environment(self) -> dict[str, str]:
        """Return this process's environment, but so that what it says is the same in any folder."""
        environment = dict(os.environ)
        if self.database_url.startswith("sqlite") and _is_given("AUTOPEFT_DATABASE_URL"):
            environment.pop("AUTOPEFT_DATABASE_URL_FILE", None)
            environment["AUTOPEFT_DATABASE_URL"] = _absolute_url(self.database_url)
        environment.pop("AUTOPEFT_HOME_FILE", None)
        environment["AUTOPEFT_HOME"] = str(self.home)
        # A secret stays in its file: what is in the environment, children and logs may see.
        for name in (*(f"{name}_FILE" for name in OWN), *PATHS):
            if environment.get(name):
                environment[name] = os.path.abspath(environment[name])
        if environment.get("PYTHONPATH"):
            places = environment["PYTHONPATH"].split(os.pathsep)
            environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, places))
        return environment

    @property
    def artifacts(self) -> Path:
        """Folder of the files that searches leave behind (trained modules of confirmed points)."""
        return self.home / "artifacts"

    @property
    def shipped(self) -> Path:
        """Folder of the base models and task files that other machines have sent here; it may be emptied."""
        return self.home / "cache" / "shipped"


def read_variable(name: str) -> str | None:
    """Return a variable of the environment, or the content of the file that the variable ``<name>_FILE`` names.

    Raises:
        InvalidInput: both are given, or the file cannot be read.
    """
    value, file = os.environ.get(name) or None, os.environ.get(f"{name}_FILE") or None
    if file is None:
        return value
    if value is not None:
        raise InvalidInput(Problem(f"{name}_FILE", file, f"{name} is set, too; leave one"))
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(Problem(f"{name}_FILE", file, f"cannot be read: {error}")) from error


@contextmanager
def empty_folder() -> Iterator[None]:
    """Work in an empty folder, where the name of a model or data set of the hub is no path by accident.

    What the environment says means the same there.
    """
    folder_before, before = Path.cwd(), dict(os.environ)
    environment = Settings.from_environment().environment()
    with tempfile.TemporaryDirectory(prefix="autopeft-") as folder:
        _set_environment(environment)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(folder_before)
            _set_environment(before)


def _set_environment(environment: dict[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _is_given(name: str) -> bool:
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def _absolute_url(url: str) -> str:
    """Return the URL of an SQLite database so that it is the same in any folder."""
    kind, found, path = url.partition(":///")
    if not found or not path or path.startswith(("/", ":memory:", "file:")):
        return url
    return f"{kind}:///{urllib.parse.quote(str(Path(urllib.parse.unquote(path)).resolve()))}"
