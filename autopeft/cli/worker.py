"""``autopeft worker``: lend this machine to a cluster."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from autopeft.cli.options import RayAddress


def command(
    ray_address: RayAddress = None,
    cpus: Annotated[
        int | None,
        typer.Option(help="CPU cores to lend.", min=0, metavar="N", show_default="all"),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="GPUs to lend.", min=0, metavar="N", show_default="all"),
    ] = None,
) -> None:
    """Join this machine to a Ray cluster, for searches to train on.

    It stays until Ctrl-C, or until the cluster's head has been gone for a minute. Models and files that a search names
    and this machine lacks are sent here. Python, Ray and AutoPEFT must be the versions that the head has.

    Example: autopeft worker --ray-address 10.0.0.5:6379 --gpus 1
    """
    import signal

    from autopeft.errors import InvalidInput, Problem, ServiceUnreachable
    from autopeft.executors.node import Node
    from autopeft.settings import Settings, empty_folder

    address = Settings.from_environment().ray_address
    if address is None:
        remedy = "give that of the cluster's head, as 10.0.0.5:6379, or set AUTOPEFT_RAY_ADDRESS"
        raise InvalidInput(Problem("ray-address", None, remedy))
    with empty_folder():
        node = Node(address, cpus, gpus, ("--disable-usage-stats",))
        try:
            # Whoever ends this process, a person or a container's engine, ends the node first.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            code = node.wait()
        except KeyboardInterrupt:
            print("leaving the cluster", file=sys.stderr)
            node.stop()
            return
    raise ServiceUnreachable(f"the Ray cluster at {address} is gone, or does not take this machine (exit code {code})")
