"""Processes that do not outlive the one that started them, and their end."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

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


def end(process: subprocess.Popen[Any], seconds: float) -> None:
    """Ask a process to end, kill it where it has not after so many seconds, and return when it is gone."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
