"""Running the service: its address, its first token, and the controller beside it."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from autopeft import child
from autopeft.errors import Conflict, InvalidInput, Problem
from autopeft.service.security import LOOPBACK
from autopeft.settings import Settings, read_variable
from autopeft.store import Store

RESTART_SECONDS, MOST_RESTART_SECONDS = 1.0, 30.0
# For the runs under way when the service ends; what is not finished by then is run again by the next controller.
END_SECONDS = 15.0
# For requests under way, streams among them.
GRACE_SECONDS = 3
OPERATOR = "operator"
log = structlog.get_logger("autopeft.service")


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    return host in LOOPBACK or host.startswith("127.")


def require_token(store: Store, host: str, token_file: Path | None) -> None:
    """Store the operator's token, if one is given, and see that there is one where others can reach the service.

    Raises:
        InvalidInput: the file cannot be read, the token is too short, or there is none on an open address.
    """
    secret = read_variable("AUTOPEFT_TOKEN") if token_file is None else _read(token_file)
    if secret:
        store.tokens.create(OPERATOR, ["admin"], secret)
    if not is_loopback(host) and not store.tokens.any():
        remedy = "others can reach it, and there is no token; make one with `autopeft token create --owner NAME`"
        raise InvalidInput(Problem("host", host, f"{remedy}, or set AUTOPEFT_TOKEN or AUTOPEFT_TOKEN_FILE"))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any that is free.

    Raises:
        Conflict: the port is taken.
        InvalidInput: there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno != errno.EADDRINUSE:
            raise InvalidInput(Problem("host", host, f"cannot be listened to: {error.strerror or error}")) from error
        raise Conflict(f"port {port} is taken; name another with --port, or 0 for any that is free") from error


def address(listening: socket.socket) -> str:
    """Return where a browser on this machine finds the page."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    return f"http://{host}:{port}/"


def run(app: FastAPI, listening: socket.socket) -> None:
    """Answer requests until a signal ends it."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
    )
    uvicorn.Server(config).run(sockets=[listening])


class OwnController:
    """A controller as a process beside the service; it is started again when it is lost.

    Args:
        settings: that it works with.
    """

    def __init__(self, settings: Settings) -> None:
        # An empty folder: the name of a model or data set of the hub is no path there.
        self._folder = tempfile.TemporaryDirectory(prefix="autopeft-")
        self._environment = _environment(settings)
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="autopeft-controller", daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it runs at the moment."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Let it finish the runs under way, for a while, and end it."""
        self._ending.set()
        self._thread.join()
        if self._process is not None:
            child.end(self._process, END_SECONDS)
        self._folder.cleanup()

    def _keep(self) -> None:
        wait = RESTART_SECONDS
        while not self._ending.is_set():
            if self._process is not None and self._process.poll() is None:
                wait = RESTART_SECONDS if self._ending.wait(1.0) else max(RESTART_SECONDS, wait / 1.1)
                continue
            if self._process is not None:
                log.warning("the controller has ended and is started again", code=self._process.returncode)
                if self._ending.wait(wait):
                    return
                wait = min(2 * wait, MOST_RESTART_SECONDS)
            # In a session of its own: Ctrl-C is for the service, which then ends it.
            self._process = subprocess.Popen(
                child.tied(sys.executable, "-m", "autopeft", "controller"),
                cwd=self._folder.name,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(Problem("token-file", str(path), f"cannot be read: {error}")) from error


def _environment(settings: Settings) -> dict[str, str]:
    """Return the controller's environment, which means the same in any folder, and holds no token."""
    tokens = ("AUTOPEFT_TOKEN", "AUTOPEFT_TOKEN_FILE")
    return {name: value for name, value in settings.environment().items() if name not in tokens}
