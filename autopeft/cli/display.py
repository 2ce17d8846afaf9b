"""Progress on stderr: a live line on a terminal, else one line an event."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from autopeft.progress import Progress

if TYPE_CHECKING:
    from autopeft.controller import Controller


class Display:
    """Shows a controller's progress.

    Args:
        quiet: show nothing but errors.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None

    def __call__(self, progress: Progress) -> None:
        """Show one step."""
        if self._quiet:
            return
        if progress.event:
            self._console.print(f"[dim]{escape(progress.event)}[/dim]", soft_wrap=True)
        line = _line(progress)
        if self._status is not None:
            self._status.update(line)
        elif progress.event:
            self._console.print(line, soft_wrap=True)

    @contextmanager
    def live(self, starting: str) -> Iterator[None]:
        """Keep the line on the terminal's last row while the search runs."""
        if self._quiet or not self._console.is_terminal:
            yield
            return
        with self._console.status(starting) as self._status:
            try:
                yield
            finally:
                self._status = None


@contextmanager
def draining(controller: Controller) -> Iterator[None]:
    """Let the first Ctrl-C finish what runs and start nothing more, and the second stop at once."""

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("finishing the runs under way; Ctrl-C again stops at once", file=sys.stderr)
        controller.drain()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _line(progress: Progress) -> str:
    total = "" if progress.total is None else f"/{progress.total}"
    what = "trials" if progress.phase == "search" else "confirmation runs"
    parts = [f"{what} {progress.done}{total}", f"{progress.running} running"]
    if progress.best is not None:
        parts.append(f"best {progress.best:.4f}")
    parts.append(f"hypervolume {progress.hypervolume:.3f}")
    parts.append(f"{_time(progress.seconds)} spent")
    if progress.seconds_left is not None:
        parts.append(f"about {_time(progress.seconds_left)} left")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
