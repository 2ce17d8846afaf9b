"""The service's side of :mod:`autopeft.service.sandbox`: one process, started again when it is lost."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import structlog

from autopeft.errors import AutopeftError, InvalidInput, NoFeasibleArchitecture, Problem
from autopeft.service import sandbox
from autopeft.service.sandbox import Checked, Outcome

# A data set of the hub is downloaded within it.
TIME_LIMIT = 300.0
# More requests than this wait for no check.
MOST_WAITING = 200
MOST_REMEMBERED = 256
log = structlog.get_logger("autopeft.service")


class Unavailable(AutopeftError):
    """The service cannot answer now, and may in a moment."""


class Checker:
    """Runs the steps of the sandbox, one at a time.

    Args:
        limit: seconds that one step may take; its process is ended then.
    """

    def __init__(self, limit: float = TIME_LIMIT) -> None:
        self._limit = limit
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="autopeft-check")
        self._pending: set[Future[Any]] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="autopeft-")
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._remembered: OrderedDict[str, Future[Any]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many steps wait or run."""
        return len(self._pending)

    async def run(self, step: str, *arguments: Any) -> Any:
        """Return what a step returns.

        Raises:
            InvalidInput: the step found problems.
            NoFeasibleArchitecture: there is nothing to pick.
            Unavailable: too many steps wait, or this one took too long or ended its process.
        """
        return await asyncio.shield(asyncio.wrap_future(self._submit(step, arguments)))

    async def check(self, document: dict[str, Any], known: Sequence[Problem]) -> Checked:
        """Check a request without its name; equal requests that were found right are not checked again."""
        if known:
            return cast(Checked, await self.run("check", document, known))
        key = json.dumps(document, sort_keys=True)
        return cast(Checked, await self._once(key, "check", document, known))

    async def once(self, step: str) -> Any:
        """Return what a step without arguments returns, which is always the same."""
        return await self._once(step, step)

    def warm(self) -> None:
        """Start the process and let it import what it needs, so that the first request need not wait for that."""
        self._recall("options", "options")
        self._recall("{}", "check", {}, ())

    def close(self) -> None:
        """End the process."""
        self._lane.shutdown(wait=False, cancel_futures=True)
        self._end()
        self._folder.cleanup()

    async def _once(self, key: str, step: str, *arguments: Any) -> Any:
        return await asyncio.shield(asyncio.wrap_future(self._recall(key, step, *arguments)))

    def _recall(self, key: str, step: str, *arguments: Any) -> Future[Any]:
        """Return the future of a step that is under way or was carried out already, or of a new one."""
        future = self._remembered.get(key)
        if future is None or (future.done() and (future.cancelled() or future.exception() is not None)):
            future = self._remembered[key] = self._submit(step, arguments)
            if len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return future

    def _submit(self, step: str, arguments: tuple[Any, ...]) -> Future[Any]:
        if len(self._pending) >= MOST_WAITING:
            raise Unavailable("too many requests wait to be checked")
        future = self._lane.submit(self._carry_out, step, arguments)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def _carry_out(self, step: str, arguments: tuple[Any, ...]) -> Any:
        connection = self._connected()
        try:
            connection.send((step, arguments))
            if not connection.poll(self._limit):
                raise TimeoutError
            outcome: Outcome = connection.recv()
        except TimeoutError as error:
            self._end()
            raise Unavailable(f"not checked within {self._limit:.0f} seconds") from error
        except (EOFError, OSError) as error:
            self._end()
            raise Unavailable("the process that checks requests was lost; it is started again") from error
        return _value(outcome)

    def _connected(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            self._end()
            # A fresh interpreter: a fork of this one would share its connections and locks.
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            folder = Path(self._folder.name)
            self._process = context.Process(target=sandbox.serve, args=(theirs, folder), daemon=True)
            self._process.start()
            theirs.close()
        return self._connection

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _value(outcome: Outcome) -> Any:
    if outcome.kind == "value":
        return outcome.value
    if outcome.kind == "invalid":
        raise InvalidInput(*outcome.value)
    if outcome.kind == "infeasible":
        raise NoFeasibleArchitecture(outcome.value)
    if outcome.kind == "failed":
        raise AutopeftError(outcome.value)
    log.error("a check failed by a fault of autopeft", traceback=outcome.value)
    raise RuntimeError("a check failed by a fault of autopeft")
