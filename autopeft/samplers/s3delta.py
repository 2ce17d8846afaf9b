"""S3Delta: structure search by gradients (Hu et al. 2022, arXiv 2206.07382).

For each number of parameters asked for, a worker trains a gate on every placement of the space together with the
modules themselves; the placements of the most probable gates that fit are then trained from scratch as a trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from autopeft.architecture import Architecture, Placement
from autopeft.errors import AutopeftError, InvalidInput, Problem
from autopeft.evidence import Gate, Structure, gates_file, read_structure, to_json
from autopeft.messages import GateSettings, TrialReport
from autopeft.modules.plan import normalise, price
from autopeft.samplers.base import WAIT, Errand, Proposal, Sampler, Setting, Step
from autopeft.space import Point, SearchSpace, gates
from autopeft.storage import write_atomically
from autopeft.trial import Trial

# Where no numbers of parameters are asked for: this many, from the least to the most of these shares of all gates.
BUDGETS, LEAST, MOST = 5, 0.05, 0.5


class S3Delta:
    """The chooser of one search."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._gates = gates(setting.space)
        # Not decoded: bounds on a space's parameters may leave out the point with every gate on.
        self._everything = normalise(Architecture(tuple(self._gates.values())), setting.space.geometry)
        self._budgets = budgets(setting, self._gates.values())
        self._known = {trial.architecture.fingerprint for trial, _ in setting.past}
        self._asked: set[int] = set()
        self._failed: dict[int, str] = {}

    def propose(self) -> Step:
        """Return the trial of a structure that is found, else the search for one that is not, else wait.

        Raises:
            AutopeftError: every structure search failed, or found what the space forbids.
        """
        for budget in self._budgets:
            if self._kept(budget).exists():
                proposal = self._trial(budget)
                if proposal is not None:
                    return proposal
        for budget in self._budgets:
            if budget not in self._asked and not self._kept(budget).exists():
                self._asked.add(budget)
                settings = GateSettings(budget=budget, **self._setting.gates.model_dump())
                return Errand(f"gates {budget}", self._everything, settings, partial(self._receive, budget))
        open_ones = [b for b in self._asked if b not in self._failed and not self._kept(b).exists()]
        if open_ones:
            return WAIT
        if len(self._failed) == len(self._budgets):
            raise AutopeftError(f"every structure search failed; the last: {list(self._failed.values())[-1]}")
        return None

    def see(self, trial: Trial, token: Any) -> None:
        """Do not propose the trial's structure again."""
        self._known.add(trial.architecture.fingerprint)

    def _trial(self, budget: int) -> Proposal | None:
        """Return the trial of the structure found for a budget, or None where it is known already."""
        chosen = {(gate.module, gate.site, gate.layer) for gate in read_structure(self._kept(budget)).kept}
        point: Point = {name: (p.module, p.site, p.layer) in chosen for name, p in self._gates.items()}
        admitted = self._setting.admitted(point)
        if admitted is None:
            self._failed[budget] = f"space {self._setting.space.name!r} forbids what fits {budget:,} parameters best"
            return None
        architecture, params = admitted
        if architecture.fingerprint in self._known:
            return None
        return Proposal(point, architecture, params)

    def _receive(self, budget: int, report: TrialReport) -> None:
        if report.state == "failed":
            self._failed[budget] = report.detail or str(report.reason)
            return
        found = describe(self._setting.space, self._everything, report, budget)
        write_atomically(self._kept(budget), to_json(found))

    def _kept(self, budget: int) -> Path:
        return self._setting.folder / gates_file(budget)


def describe(space: SearchSpace, everything: Architecture, report: TrialReport, budget: int) -> Structure:
    """Return what a structure search found: every gate with its probability and whether it is kept."""
    prices = [price(placement, space.geometry) for placement in everything.placements]
    chosen = fill(report.probabilities, prices, budget)
    found = zip(everything.placements, prices, report.probabilities, strict=True)
    return Structure(
        budget=budget,
        seconds=round(report.seconds, 3),
        steps=report.steps,
        layers=space.geometry.layers,
        gates=tuple(
            Gate(p.module, p.site, p.layer, p.size, params, probability, index in chosen)
            for index, (p, params, probability) in enumerate(found)
        ),
    )


def fill(probabilities: Sequence[float], prices: Sequence[int], budget: int) -> set[int]:
    """Return the gates to keep: the most probable first, each if it still fits the budget.

    Of equally probable ones the cheaper comes first, then the later.
    """
    kept: set[int] = set()
    left = budget
    for index in sorted(range(len(prices)), key=lambda i: (-probabilities[i], prices[i], -i)):
        if prices[index] <= left:
            kept.add(index)
            left -= prices[index]
    return kept


def budgets(setting: Setting, gated: Iterable[Placement]) -> tuple[int, ...]:
    """Return the numbers of parameters to search at: those asked for, or some spread over what gates and cap allow."""
    if setting.param_budgets:
        return tuple(sorted(setting.param_budgets))
    prices = [price(placement, setting.space.geometry) for placement in gated]
    most = min(MOST * sum(prices), math.inf if setting.cap is None else setting.cap)
    least = max(min(prices), min(LEAST * sum(prices), most))
    most = max(least, most)
    count = BUDGETS if setting.trials is None else max(1, min(BUDGETS, setting.trials))
    steps = [index / max(1, count - 1) for index in range(count)]
    return tuple(dict.fromkeys(round(least ** (1 - step) * most**step) for step in steps))


def _problems(setting: Setting) -> Iterator[Problem]:
    space = setting.space
    try:
        found = gates(space)
    except InvalidInput as error:
        yield from error.problems
        return
    for placement in found.values():
        if space.geometry.site(placement.site, placement.layer).kind == "kv":
            remedy = "s3delta cannot train a gate on a prefix; leave this module out"
            yield Problem("space", f"{space.name}: {placement.module}", remedy)
            return
    least = min(price(placement, space.geometry) for placement in found.values())
    for budget in setting.param_budgets:
        if budget < least:
            yield Problem("param-budgets", budget, f"too low: the smallest gate has {least:,} parameters")
        if setting.cap is not None and budget > setting.cap:
            yield Problem(
                "param-budgets", budget, f"above the cap of {setting.cap:,} parameters; lower one of the two"
            )
    needed = len(setting.param_budgets)
    if setting.trials is not None and setting.trials < needed:
        remedy = f"leaves {setting.trials} trials for the space, and {needed} param-budgets need one each"
        yield Problem("budget", None, remedy)


SAMPLER = Sampler(
    summary="structure search by gradients: gates trained under a parameter budget, then the best placements that fit",
    source="Hu et al. 2022, arXiv 2206.07382",
    choose=S3Delta,
    check=_problems,
    needs_scores=True,
    takes_param_budgets=True,
)
