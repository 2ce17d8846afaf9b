"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import sys

# Linux sends the signal when the thread that started the process ends, however it ends; elsewhere nothing is sent.
_TIED = """
import ctypes, os, signal, sys
if hasattr(ctypes.CDLL(None), "prctl"):
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""


def tied(*command: str) -> list[str]:
    """Return a command line that runs another, the path of its program first, and ends it with its starter."""
    return [sys.executable, "-c", _TIED, *command]
