"""Taking a trained model to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of whichever HTTP library the hub's client uses
    OfflineModeIsEnabled,
)

from autopeft.errors import AutopeftError, InvalidInput, Problem, ServiceUnreachable
from autopeft.trained_files import read_folder

UNAUTHORISED, FORBIDDEN = 401, 403


def push(folder: Path | str, repository: str, private: bool = True) -> str:
    """Upload a trained model's folder, with its card, and return the address of its page.

    The token is the hub's own: ``HF_TOKEN``, or what ``hf auth login`` keeps.

    Args:
        folder: as ``autopeft train`` wrote it; files that begin with a dot stay behind.
        repository: ``organisation/name``; created if need be, and what is in it is added to.
        private: whether a repository that is created can be seen by its owner alone.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: it is no trained model; there is no token, or not one that may write there.
        ServiceUnreachable: the hub does not answer.
    """
    folder = Path(folder).expanduser()
    recipe, _ = read_folder(folder)
    token = get_token()
    if token is None:
        remedy = "none found; set HF_TOKEN to one that may write, or log in with `hf auth login`"
        raise InvalidInput(Problem("token of the hub", None, remedy))
    api = HfApi(token=token)
    with _hub_errors(repository):
        page = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=page.repo_id,
            folder_path=folder,
            commit_message=f"{recipe.name}, trained by AutoPEFT",
            ignore_patterns=[".*", "*/.*"],
        )
    return str(page)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    try:
        yield
    except HFValidationError as error:
        raise InvalidInput(Problem("repository", repository, f"no name of the hub: {_first_line(error)}")) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == UNAUTHORISED:
            raise InvalidInput(
                Problem("token of the hub", None, "the hub does not know it; make a new one")
            ) from error
        if status == FORBIDDEN:
            raise InvalidInput(Problem("repository", repository, "this token may not write there")) from error
        raise AutopeftError(f"the hub refused the upload: {_first_line(error)}") from error
    except (OfflineModeIsEnabled, HTTPError) as error:
        remedy = f"the hub at {constants.ENDPOINT} does not answer: {_first_line(error)}"
        raise ServiceUnreachable(remedy) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
