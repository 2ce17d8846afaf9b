"""What must last beside Optuna's own tables: searches, who works on them, evaluations, and what the service keeps."""

from autopeft.store.store import SearchRecord, Store, Submission

__all__ = ["SearchRecord", "Store", "Submission"]
