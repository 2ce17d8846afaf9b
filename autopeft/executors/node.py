"""This machine as a node of a Ray cluster that runs elsewhere."""

from __future__ import annotations

import socket
import subprocess
import sys

from autopeft.child import end, tied
from autopeft.errors import ServiceUnreachable

KNOCK_SECONDS = 5.0
STOP_SECONDS = 45.0  # Ray gives what runs on a node 30 seconds


class Node:
    """A child process that holds this machine's place in a cluster; what it says goes to stderr.

    Args:
        address: of the cluster's head, as ``host:6379``.
        cpus: that the node lends; None lends all it has.
        gpus: the same for GPUs.
        options: further ones of ``ray start``.
        quiet: whether it says nothing.

    Raises:
        ServiceUnreachable: nothing listens at the address.
    """

    def __init__(
        self,
        address: str,
        cpus: int | None = None,
        gpus: int | None = None,
        options: tuple[str, ...] = (),
        quiet: bool = False,
    ) -> None:
        knock(address)
        lent = {"--num-cpus": cpus, "--num-gpus": gpus}
        amounts = [f"{option}={amount}" for option, amount in lent.items() if amount is not None]
        told = subprocess.DEVNULL if quiet else sys.stderr.fileno()
        start = (sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--block")
        self._process = subprocess.Popen(
            tied(*start, *amounts, *options),  # a search that is killed leaves no node behind
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            # Ctrl-C reaches this process alone, which ends its node when it is done with it.
            start_new_session=True,
        )

    @property
    def ended(self) -> bool:
        """Whether the child has ended."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait until the node has lost the cluster or was ended, and return its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """Leave the cluster; what runs here for it is ended."""
        end(self._process, STOP_SECONDS)


def knock(address: str) -> None:
    """Check that something listens at ``host:port``: Ray itself would go on trying for minutes.

    Raises:
        ServiceUnreachable: nothing does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ServiceUnreachable(f"no Ray cluster at {address}: {error}") from error
