"""Budgets and caps as people write them: ``40``, ``30m``, ``4gpu-h``; ``300000``, ``2%``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from autopeft.errors import InvalidInput, Problem

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """How much a search may use; exactly one of the three is set.

    Attributes:
        trials: trials that finish, baselines included.
        seconds: wall time of the whole search, confirmation included.
        gpu_seconds: wall time times the number of GPUs used.
    """

    trials: int | None = None
    seconds: float | None = None
    gpu_seconds: float | None = None


def parse_budget(text: str) -> Budget:
    """Read a budget.

    Raises:
        InvalidInput: it is none, or zero.
    """
    remedy = "give trials (40), wall time (90s, 30m, 2h) or GPU time (4gpu-h), more than 0"
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|gpu-h)?", text.strip())
    if match is None or not 0 < float(match[1]) < math.inf:
        raise InvalidInput(Problem("budget", text, remedy))
    amount, unit = float(match[1]), match[2]
    if unit is None:
        if not amount.is_integer():
            raise InvalidInput(Problem("budget", text, remedy))
        return Budget(trials=int(amount))
    if unit == "gpu-h":
        return Budget(gpu_seconds=amount * 3600.0)
    return Budget(seconds=amount * _SECONDS[unit])


def add_budget(current: str, text: str) -> str:
    """Return the budget that ``text`` makes of the current one: ``+20`` adds, anything else replaces.

    Raises:
        InvalidInput: either is no budget, or they have different units.
    """
    if not text.startswith("+"):
        parse_budget(text)
        return text
    old, more = parse_budget(current), parse_budget(text[1:])
    if old.trials is not None and more.trials is not None:
        return str(old.trials + more.trials)
    if old.seconds is not None and more.seconds is not None:
        return f"{_plain(old.seconds + more.seconds)}s"
    if old.gpu_seconds is not None and more.gpu_seconds is not None:
        return f"{_plain((old.gpu_seconds + more.gpu_seconds) / 3600)}gpu-h"
    raise InvalidInput(Problem("budget", text, f"the search's budget is {current}; add the same unit"))


def parse_params(field: str, text: str, base_parameters: int) -> int:
    """Return a number of trainable parameters, given as such or as a percentage of the base model.

    Raises:
        InvalidInput: it is neither, not above 0, or above 100 %; the message names ``field``.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)([kKmM%])?", text.strip())
    value = float(match[1]) if match else 0.0
    percent = match is not None and match[2] == "%"
    if match is None or not 0 < value < math.inf or (percent and value > 100):
        remedy = "give a number (300000, 300k, 1.5M) or a percentage of the base model (2%, at most 100%), more than 0"
        raise InvalidInput(Problem(field, text, remedy))
    if percent:
        return int(base_parameters * value / 100)
    return int(value * {"k": 1e3, "m": 1e6}.get((match[2] or "").lower(), 1.0))


def _plain(number: float) -> str:
    # Without an exponent, which a budget cannot have.
    return f"{number:.6f}".rstrip("0").rstrip(".")
