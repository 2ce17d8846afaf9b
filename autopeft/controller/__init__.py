"""Taking a search from wherever it stands to its answer.

:class:`Controller` owns the search while it works; the phases, searching and confirming, share its :mod:`work`.
"""

from autopeft.controller.controller import Controller
from autopeft.controller.work import open_study

__all__ = ["Controller", "open_study"]
