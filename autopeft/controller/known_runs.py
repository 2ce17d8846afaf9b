"""What other searches, and earlier starts of this one, have trained already under the same conditions."""

from __future__ import annotations

from typing import Any

from autopeft.messages import Fidelity, TrialReport, TrialRequest
from autopeft.settings import Settings
from autopeft.store import SearchRecord, Store
from autopeft.stored import weights_path
from autopeft.trial import Trial


class KnownRuns:
    """The store's evaluations, as one search may use them.

    Args:
        store: that holds them.
        record: of the search.
        settings: with the data folder, where trained modules are kept.
    """

    def __init__(self, store: Store, record: SearchRecord, settings: Settings) -> None:
        self._store = store
        self._record = record
        self._settings = settings

    def of_others(self, fidelity: Fidelity) -> list[Trial]:
        """Return what other searches have trained as this one would."""
        known = self._store.known(self._record.conditions(fidelity))
        return [Trial.from_evaluation(one) for one in known if one.report.source != self._record.id]

    def find(self, request: TrialRequest) -> TrialReport | None:
        """Return the report that a request would get, or None where it is to be run."""
        if request.gates is not None:
            return None
        fingerprint = request.decoded.fingerprint
        for one in self._store.known(self._record.conditions(request.fidelity), fingerprint):
            report = one.report.held_to(request.bars) if one.seed == request.seed else None
            if report is None or report.state == "failed":
                continue
            found: dict[str, Any] = {"key": request.key, "source": one.report.source}
            if report.state == "complete":
                if not set(request.parts) <= set(report.scores):
                    continue
                if request.keep_weights:
                    kept = weights_path(self._settings, one.report.source, fingerprint)
                    if not kept.exists():
                        continue
                    found["weights"] = kept.read_bytes()
            return report.model_copy(update=found)
        return None
