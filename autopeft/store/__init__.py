"""What must last beside Optuna's own tables: searches, who works on them, and every evaluation made."""

from autopeft.store.store import SearchRecord, SearchState, Store

__all__ = ["SearchRecord", "SearchState", "Store"]
