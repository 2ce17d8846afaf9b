"""Every trial is trained to its end."""

from __future__ import annotations

from collections.abc import Sequence

from autopeft.messages import Bar, Fidelity
from autopeft.policies.base import Policy
from autopeft.trial import Trial


def _bars(params: int, fidelity: Fidelity, past: Sequence[Trial]) -> tuple[Bar, ...]:
    return ()


POLICY = Policy(summary="every trial is trained to its end", source="", bars=_bars)
