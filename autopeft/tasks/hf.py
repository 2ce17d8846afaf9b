"""Data sets of the Hugging Face hub, and local folders of the same layout.

``hf:<organisation>/<name>[/<config>][@<revision>]``: the first two parts are always the data set and a third is
its config, so ``hf:nyu-mll/glue/sst2@main``. A data set without an organisation (the hub's old short names, as
``imdb``) is refused: the library takes names like ``csv`` for its own readers and would search the current folder.
``hf:/absolute``, ``hf:./relative`` and ``hf:~/home`` are local folders and have neither config nor revision.

Only readers that cannot run code are used. Rows without a label (-1 or null by the hub's convention) are left out
where the classes are declared; a split in which no row has one counts as absent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autopeft.errors import InvalidInput, Problem
from autopeft.messages import TaskSpec
from autopeft.tasks.base import RawTask, TaskSource
from autopeft.tasks.formats import MOST_BYTES, MOST_ROWS, missing_path
from autopeft.tasks.tabular import SPLITS, Table, find_columns, raw_task

PREFIX = "hf:"
READERS = frozenset({"arrow", "csv", "json", "parquet", "text"})
PART = r"[A-Za-z0-9_][\w.-]*"


@dataclass(frozen=True)
class Address:
    """Where a data set is: a local folder, or a hub id with its config and revision."""

    path: str
    config: str | None = None
    revision: str | None = None


def read_data_set(address: Address, spec: TaskSpec, splits: Mapping[str, str] = SPLITS) -> RawTask:
    """Download (or find in the cache) and read a data set.

    Args:
        address: where it is.
        spec: names the columns, or leaves them to be found.
        splits: the data set's own names of splits, and what they are here; others are not read.

    Raises:
        InvalidInput: it cannot be had, its columns are others, or its rows do not make a task.
    """
    data = _load(address, spec)
    # Where two names mean one split, its own name wins.
    named = {splits[name]: name for name in sorted(data, key=lambda name: splits.get(name) == name) if name in splits}
    if "train" not in named:
        raise InvalidInput(Problem("task", spec.name, f"no train split; there are: {', '.join(data)}"))
    features = data[named["train"]].features
    columns = find_columns(spec, list(features), spec.name)
    names = getattr(features[columns.target], "names", None)
    tables = {}
    for split, name in named.items():
        table = _table(data[name], columns.target, names, f"{spec.name} {name}")
        if table is not None:
            tables[split] = table
    if "train" not in tables:
        raise InvalidInput(Problem(columns.role, columns.target, f"no row of {spec.name} train has a label"))
    return replace(raw_task(tables, spec), labels=None if names is None else tuple(names))


def _read(spec: TaskSpec) -> RawTask:
    return read_data_set(_parse(spec.name), spec)


def _parse(name: str) -> Address:
    rest = name.removeprefix(PREFIX)
    if rest.startswith(("/", ".", "~")):
        folder = Path(os.path.abspath(os.path.expanduser(rest)))
        if not os.path.isdir(folder):
            raise InvalidInput(missing_path("task", name, folder))
        return Address(str(folder))
    found = re.fullmatch(rf"({PART}/{PART})(?:/({PART}))?(?:@([\w./-]+))?", rest)
    if found is None:
        form = "hf:<organisation>/<name>[/<config>][@<revision>], as hf:stanfordnlp/imdb, or hf:/folder"
        raise InvalidInput(Problem("task", name, f"not the name of a data set; the form is {form}"))
    data_set, config, revision = found.groups()
    # With its scheme an id is never mistaken for a folder.
    return Address(f"hf://datasets/{data_set}", config, revision)


def _load(address: Address, spec: TaskSpec) -> Mapping[str, Any]:
    # A second to import, and most tasks do not need it.
    import datasets  # noqa: PLC0415

    with _told_plainly(address, spec.name):
        builder = datasets.load_dataset_builder(address.path, address.config, revision=address.revision)
    if builder.name not in READERS:
        remedy = f"its files need the reader {builder.name!r}; only these are read: {', '.join(sorted(READERS))}"
        raise InvalidInput(Problem("task", spec.name, remedy))
    if (builder.info.download_size or 0) > MOST_BYTES:
        remedy = f"{builder.info.download_size} bytes to download; at most {MOST_BYTES}: give a part of it as a file"
        raise InvalidInput(Problem("task", spec.name, remedy))
    if builder.info.features:  # known before the download for most data sets of the hub
        find_columns(spec, list(builder.info.features), spec.name)
    with _told_plainly(address, spec.name):
        builder.download_and_prepare()
        data: Mapping[str, Any] = builder.as_dataset()
    if max((len(split) for split in data.values()), default=0) > MOST_ROWS:
        raise InvalidInput(Problem("task", spec.name, f"more than {MOST_ROWS} rows; give a part of them as a file"))
    return data


def _table(data: Any, target: str, names: Sequence[str] | None, origin: str) -> Table | None:
    if target not in data.column_names:
        return Table(origin, tuple(data.column_names), lambda name: data[name][:])
    targets = data[target][:]
    labelled = [i for i, value in enumerate(targets) if value is not None and value != -1]
    if not labelled:
        return None
    if names is not None and len(labelled) < len(targets):
        data = data.select(labelled)
    return Table(origin, tuple(data.column_names), _reader(data, target, names))


def _reader(data: Any, target: str, names: Sequence[str] | None) -> Callable[[str], Sequence[object]]:
    def read(name: str) -> Sequence[object]:
        values: Sequence[object] = data[name][:]
        if name == target and names is not None:
            return [names[value] if isinstance(value, int) else value for value in values]
        return values

    return read


@contextmanager
def _told_plainly(address: Address, name: str) -> Iterator[None]:
    """Turn whatever the library raises into the problem of this data set.

    It raises its own errors, the hub's, the network's and plain ones, depending on where it gives up.
    """
    try:
        yield
    except Exception as error:
        raise InvalidInput(_explained(error, address, name)) from error


def _explained(error: Exception, address: Address, name: str) -> Problem:
    import datasets.exceptions as library  # noqa: PLC0415
    from huggingface_hub import errors as hub  # noqa: PLC0415

    text = str(error)
    chain = _chain(error)
    if isinstance(error, hub.GatedRepoError) or "gated" in text:
        return Problem("task", name, "gated: ask for access on its page, then log in with `hf auth login`")
    if isinstance(error, hub.RevisionNotFoundError) or text.startswith("Revision"):
        return Problem("revision", address.revision, f"{name} has no such branch, tag or commit")
    if isinstance(error, (library.DatasetNotFoundError, hub.RepositoryNotFoundError, hub.HFValidationError)):
        remedy = "the hub has no such data set, or it is private; the form is hf:<organisation>/<name>[/<config>]"
        return Problem("task", name, remedy)
    if any(isinstance(e, (ConnectionError, TimeoutError, hub.LocalEntryNotFoundError)) for e in chain):
        return _unreachable(name)
    if isinstance(error, ValueError) and "onfig" in text:
        return _unknown_config(text, address)
    if isinstance(error, FileNotFoundError):
        return Problem("task", name, f"no data files of a known kind there: {', '.join(sorted(READERS))}")
    if "scripts are no longer supported" in text:
        return Problem("task", name, "read by a script of its own, which is never run; give its data as a file")
    cause = str(chain[-1]).strip().split("\n")[0]
    return Problem("task", name, f"cannot be read ({cause}); mend its files, or give them as a file or folder")


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _unreachable(name: str) -> Problem:
    from huggingface_hub import constants  # noqa: PLC0415

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "check the network"
    remedy = f"the Hugging Face hub cannot be reached ({why}) and the data set is not in the cache; "
    return Problem("task", name, remedy + "a local file or folder with the data works without it")


def _unknown_config(text: str, address: Address) -> Problem:
    known = re.findall(r"'([^']+)'", text.partition("vailable")[2])
    if address.config is None:
        return Problem("config", None, f"give one, as hf:<organisation>/<name>/<config>: {', '.join(known)}")
    return Problem.unknown("config", address.config, known)


TASK_SOURCE = TaskSource(
    summary="a data set of the Hugging Face hub, or a local folder in that layout",
    example="hf:stanfordnlp/imdb",
    accepts=lambda name: name.startswith(PREFIX),
    read=_read,
)
