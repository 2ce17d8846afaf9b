"""A cache of the Hugging Face hub with a model in it, as a download would have left it: no network is asked."""

import shutil
from pathlib import Path

NAME = "acme/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_hub(folder: Path, model: Path) -> dict[str, str]:
    """Put a model into a new cache under :data:`NAME`; return the variables by which processes find it."""
    cached = folder / "hub" / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(model, cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    return {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}


def make_decoy(folder: Path) -> None:
    """Put a folder of the model's name where it might be taken for the model; it holds none."""
    decoy = folder.joinpath(*NAME.split("/"))
    decoy.mkdir(parents=True)
    (decoy / "config.json").write_text("{}")
