"""What is installed, which devices there are, whether Ray starts, and where data is kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from autopeft.base_models import probe_quantisation
from autopeft.errors import AutopeftError
from autopeft.settings import Settings
from autopeft.store import Store
from autopeft.submission import package_versions

RAY_SECONDS = 90
_RAY = "import ray, logging; ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)"


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``ok`` is None where it is only a fact."""

    what: str
    ok: bool | None
    detail: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that a search needs, one after another."""
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    yield Finding("versions", None, f"Python {platform.python_version()}, {versions}")
    yield Finding("CPU", None, f"{os.cpu_count()} cores, {platform.machine()}, {_bfloat16()}")
    yield Finding("GPU", None, _gpus())
    yield _try("store", lambda: _open_store(settings))
    yield _try("data folder", lambda: _check_writable(settings))
    yield _try("int8 base", lambda: probe_quantisation("int8"))
    yield _try("nf4 base", lambda: probe_quantisation("nf4"))
    yield _try("Ray", _start_ray)


def _open_store(settings: Settings) -> str:
    store = Store(settings.database_url)
    count = len(store.list())
    store.close()
    return f"{settings.database_url.split('@')[-1]}, {count} {'search' if count == 1 else 'searches'}"


def _check_writable(settings: Settings) -> str:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise AutopeftError(f"{settings.home}: nothing can be written to {folder}")
    return str(settings.home)


def _bfloat16() -> str:
    return "multiplies bfloat16 faster" if torch.cpu.get_capabilities().get("amx_bf16") else "float32"


def _gpus() -> str:
    if not torch.cuda.is_available():
        return "none; training runs on the CPU"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _start_ray() -> str:
    # In a process of its own: one that hangs, as Ray does on some networks, must not take the doctor with it.
    try:
        done = subprocess.run([sys.executable, "-c", _RAY], capture_output=True, text=True, timeout=RAY_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AutopeftError(f"did not start within {RAY_SECONDS} s; --executor inline needs none") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise AutopeftError(f"did not start: {last[0]}; --executor inline needs none")
    return "starts"


def _try(what: str, step: Callable[[], str | None]) -> Finding:
    try:
        return Finding(what, True, step() or "works")
    except Exception as error:  # the doctor reports; it does not fall ill
        return Finding(what, False, str(error))
