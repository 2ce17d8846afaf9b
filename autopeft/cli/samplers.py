"""``autopeft samplers``: who can propose architectures."""

from __future__ import annotations

from autopeft.cli.options import AsJson


def command(as_json: AsJson = False) -> None:
    """List the samplers, which propose the architectures to try."""
    from autopeft.cli.tables import print_implementations
    from autopeft.samplers import SAMPLERS

    print_implementations("sampler", SAMPLERS.all(), as_json)
