"""Where AutoPEFT keeps its data and how it reaches its services, from the environment."""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from autopeft.errors import InvalidInput, Problem


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
