"""The Python face of a search: submit it, run it, read its answer, take its winner away."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.answer import Answer, Row
from autopeft.evidence import Evidence, read_evidence
from autopeft.lease import Lease, change_budget
from autopeft.progress import Listener
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.stored import evidence_folder, read_answer, weights_path
from autopeft.trial import Trial, opened_storage, read_trials
from autopeft.warm_start import create_search
from autopeft.winner import make_recipe

if TYPE_CHECKING:
    from autopeft.controller import Controller


class Search:
    """One search in the embedded store.

    ::

        search = autopeft.Search(model="minilm", task="docstrings", space="autopeft", budget=40).run()
        search.front, search.baselines
        search.export("recipe", "out", pick="knee")

    Args:
        options: the fields of :class:`autopeft.messages.SearchSpec`; ``task`` may be a plain name, ``budget``,
            ``max_params`` and ``param_budgets`` plain numbers.

    Raises:
        InvalidInput: with every problem of the request.
        Conflict: the name is taken.
    """

    def __init__(self, **options: Any) -> None:
        # Loaded here, as the controller below: torch comes with them, and reading a stored search does without.
        from autopeft.submission import submit_options  # noqa: PLC0415

        plan, facts = submit_options(options)
        self._settings, self._store = open_store()
        self._record = create_search(self._store, self._settings, plan.spec, facts, plan.warm_start)

    @classmethod
    def load(cls, name: str) -> Search:
        """Return a stored search by id or name.

        Raises:
            NotFound: there is none.
        """
        search = cls.__new__(cls)
        search._settings, search._store = open_store()
        search._record = search._store.get(name)
        return search

    @property
    def record(self) -> SearchRecord:
        """The search as the store knows it now."""
        return self._store.get(self._record.id)

    def controller(self, listener: Listener = lambda _: None) -> Controller:
        """Return a controller that owns the search, for one who wants to drain it; :meth:`run` makes its own."""
        from autopeft.controller import Controller  # noqa: PLC0415

        return Controller(self._store, Lease.take(self._store, self._record.id), self._settings, listener)

    def run(self, listener: Listener = lambda _: None) -> Search:
        """Work on the search, from wherever it stands, until it is done.

        Raises:
            Conflict: another controller is working on it.
            NoFeasibleArchitecture: nothing meets the caps.
        """
        self.controller(listener).run()
        return self

    def resume(self, budget: str | int | None = None, listener: Listener = lambda _: None) -> Search:
        """Go on with a search; ``budget`` replaces its budget, or adds to it as ``+20``."""
        self.prepare_resume(budget)
        return self.run(listener)

    def prepare_resume(self, budget: str | int | None = None) -> None:
        """Set the budget with which the search is to go on.

        Raises:
            InvalidInput: it is no budget, or has another unit than the search's.
            Conflict: it is below what was spent already, or somebody is working on the search.
        """
        if budget is not None:
            self._record = change_budget(self._store, self._record, str(budget))

    def cancel(self) -> None:
        """Ask whoever works on the search to stop; what is finished stays."""
        self._store.request_cancel(self._record.id)

    @property
    def answer(self) -> Answer:
        """Front, baselines and the rest, as far as the search is."""
        return read_answer(self._store, self._record.id, self.trials)

    @property
    def front(self) -> tuple[Row, ...]:
        """Non-dominated architectures by ascending parameters."""
        return self.answer.front

    @property
    def baselines(self) -> tuple[Row, ...]:
        """Hand-made architectures."""
        return self.answer.baselines

    @property
    def evidence(self) -> Evidence:
        """Why the sampler chose what it chose, as far as the search is.

        Raises:
            InvalidInput: its sampler keeps no evidence.
        """
        record = self.record
        asked = Evidence(record.id, record.name, record.state, record.spec.sampler, record.facts["metric"])
        return read_evidence(asked, evidence_folder(self._settings, record.id))

    @property
    def trials(self) -> list[Trial]:
        """Every trial, by number."""
        with opened_storage(self._settings.database_url) as storage:
            return read_trials(storage, self._record.name)

    def pick(self, choice: str = "best") -> Row:
        """Return one row of the answer; see :meth:`autopeft.answer.Answer.pick`."""
        return self.answer.pick(choice)

    def export(self, export_format: str, out: Path | str, pick: str = "best", allow_lossy: bool = False) -> list[Path]:
        """Write one architecture in a format that other tools read, and return the files.

        Raises:
            LossyExport: the format cannot hold the architecture; the reasons are listed. With ``allow_lossy`` it is
                written nevertheless where it can be, with that list.
            InvalidInput: there is no such format or pick.
        """
        from autopeft.exporters import export  # noqa: PLC0415 - torch

        answer = self.answer
        row = answer.pick(pick)
        recipe = make_recipe(self.record, row, answer.baselines)
        return export(recipe, export_format, self.weights(row), Path(out), allow_lossy)

    def weights(self, row: Row) -> Path | None:
        """Return the file of a confirmed row's trained modules, or None where none were kept."""
        path = weights_path(self._settings, self._record.id, row.architecture.fingerprint)
        return path if path.exists() else None


def list_searches() -> list[SearchRecord]:
    """Return all searches in the embedded store, newest first."""
    return open_store()[1].list()


def open_store() -> tuple[Settings, Store]:
    """Return the settings of the environment, and the store that they name."""
    import optuna  # noqa: PLC0415 - only to quiet it: its log lines repeat our own progress

    optuna.logging.set_verbosity(logging.WARNING)
    settings = Settings.from_environment()
    return settings, Store(settings.database_url)
