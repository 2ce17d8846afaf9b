"""What a search has left in the store, for those who only look at it: no model, space or data is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autopeft.answer import Answer, make_answer
from autopeft.objectives import further
from autopeft.settings import Settings
from autopeft.store import Store
from autopeft.trial import Trial


def read_answer(store: Store, name: str, trials: Sequence[Trial]) -> Answer:
    """Return the answer of a search as it stands."""
    record = store.get(name)
    return make_answer(
        search=record.id,
        name=record.name,
        state=record.state,
        facts=record.facts,
        trials=trials,
        confirmations=store.evaluations(record, "confirmation"),
        objectives=further(record.spec.objectives),
    )


def weights_path(settings: Settings, search: str, fingerprint: str) -> Path:
    """Return where the trained modules of a confirmed architecture lie."""
    return settings.artifacts / search / f"{fingerprint}.safetensors"


def evidence_folder(settings: Settings, search: str) -> Path:
    """Return the folder in which a sampler keeps the evidence for what it chose."""
    return settings.artifacts / search / "evidence"
