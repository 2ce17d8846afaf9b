"""``autopeft push``: take a trained model to the Hugging Face hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `autopeft train` wrote.")],
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="Where to, as organisation/name; it is made if it is not there.")
    ],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who can see a repository that is made: you, or everybody.")
    ] = True,
) -> None:
    """Upload a trained model and its card to the Hugging Face hub, and print the address of its page.

    The token comes from HF_TOKEN, or from a login with `hf auth login`.

    Example: autopeft push reviews-model me/reviews
    """
    from autopeft.upload import push

    print(f"uploading {folder} to {repository}", file=sys.stderr)
    print(push(folder, repository, private))
