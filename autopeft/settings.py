"""Where AutoPEFT keeps its data and how it reaches its services, from the environment."""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class Settings:
    """The environment as AutoPEFT reads it.

    ``AUTOPEFT_HOME`` (data folder), ``AUTOPEFT_DATABASE_URL`` (SQLAlchemy URL; SQLite in the data folder if
    unset), ``AUTOPEFT_RAY_ADDRESS`` (a running Ray cluster; a local Ray is started if unset).
    """

    home: Path
    database_url: str
    ray_address: str | None

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the settings now; nothing is created on disk."""
        home = Path(os.environ.get("AUTOPEFT_HOME") or platformdirs.user_data_dir("autopeft"))
        home = home.expanduser().resolve()
        return cls(
            home=home,
            database_url=os.environ.get("AUTOPEFT_DATABASE_URL")
            or f"sqlite:///{urllib.parse.quote(str(home / 'autopeft.db'))}",
            ray_address=os.environ.get("AUTOPEFT_RAY_ADDRESS") or None,
        )

    @property
    def artifacts(self) -> Path:
        """Folder of the files that searches leave behind (trained modules of confirmed points)."""
        return self.home / "artifacts"
