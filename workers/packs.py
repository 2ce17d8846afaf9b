"""Several requests in, their reports out: those that can share passes over the base do."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from functools import partial

import torch

from autopeft.base_models import describe_model
from autopeft.messages import TrialReport, TrialRequest
from autopeft.modules.pack import Pack, can_pack
from autopeft.modules.weights import Weights
from workers import proxy
from workers.activations import Trunk
from workers.data import EncodedSplit
from workers.devices import reset_peak_memory
from workers.evaluation import score_logits
from workers.packing import Together, predict_together
from workers.reporting import findings, report_on, reported
from workers.residency import Residency
from workers.training import Loop, Outcome, Run, TrainingStopped

LEAST_SECONDS = 1e-3


def run_all(requests: Sequence[TrialRequest]) -> list[TrialReport]:
    """Carry out requests as :func:`workers.proxy.run` does, those that can in passes that they share.

    Returns:
        The reports in the order of the requests. A run that shares passes has its share of the time in its report,
        and the memory of all.
    """
    packs: dict[Hashable, list[TrialRequest]] = {}
    for request in requests:
        packs.setdefault(_shares(request), []).append(request)
    reports = {report.key: report for pack in packs.values() for report in _run_pack(_by_kind(pack))}
    return [reports[request.key] for request in requests]


def _shares(request: TrialRequest) -> Hashable:
    """Return what is equal for requests that can share passes."""
    try:
        architecture, geometry = request.decoded, describe_model(request.model).geometry
        alone = request.gates is not None or request.latency or not request.shortcuts
        if alone or not can_pack(architecture, geometry):
            return request.key
    except Exception:  # its own run says what is wrong
        return request.key
    # What needs no layer would only lose by passes through those of others.
    no_layer = not architecture.placements
    return request.model, request.task, request.precision, architecture.quantisation, request.fidelity.rows, no_layer


def _by_kind(requests: Sequence[TrialRequest]) -> Sequence[TrialRequest]:
    """Return requests with like modules beside each other, which need the fewest cuts of a batch."""
    return sorted(requests, key=lambda r: r.decoded.module_types) if len(requests) > 1 else requests


def _run_pack(requests: Sequence[TrialRequest]) -> list[TrialReport]:
    if len(requests) == 1:
        return [proxy.run(requests[0])]
    started, residency = time.monotonic(), proxy.resident()
    try:
        return _Runs(requests, residency, started).reports()
    except Exception:  # the fault may be one run's, or the memory too small for all: it is seen in smaller packs
        pass
    # Outside the except block: the error's traceback holds the tensors that filled the memory.
    if residency.device.type == "cuda":
        torch.cuda.empty_cache()
    left = [_with_less_time(request, time.monotonic() - started) for request in requests]
    middle = len(left) // 2
    return [*_run_pack(left[:middle]), *_run_pack(left[middle:])]


def _with_less_time(request: TrialRequest, seconds: float) -> TrialRequest:
    if request.wall_limit is None:
        return request
    return request.model_copy(update={"wall_limit": max(LEAST_SECONDS, request.wall_limit - seconds)})


class _Runs:
    """The runs of a pack, from their requests to their reports."""

    def __init__(self, requests: Sequence[TrialRequest], residency: Residency, started: float) -> None:
        self.requests = requests
        self.residency = residency
        self.started = started
        self.model, self.task = residency.model(requests[0]), residency.task(requests[0])
        self.metrics: list[list[dict[str, float]]] = [[] for _ in requests]

    def reports(self) -> list[TrialReport]:
        """Train, and report on each."""
        reset_peak_memory(self.residency.device)
        geometry = describe_model(self.requests[0].model).geometry
        members = [Weights(self.model, request.decoded, geometry, request.seed) for request in self.requests]
        with Pack(members) as self.pack:
            self.forward = Trunk(self.pack, self.residency.shelf).forward
            ended = self._train()
            found = [
                reported(r, self.started, partial(self._report, i, ended[i])) for i, r in enumerate(self.requests)
            ]
        return self._in_shares(found)

    def _train(self) -> Mapping[int, Outcome | TrainingStopped]:
        rows = self.task.train.subset(self.requests[0].fidelity.rows)
        kind = self.task.data.kind
        runs = [
            Run(weights, Loop(weights, kind, r.chosen_training), rows, r.chosen_fidelity, r.seed, r.bars)
            for weights, r in zip(self.pack.members, self.requests, strict=True)
        ]
        deadlines = [None if r.wall_limit is None else self.started + r.wall_limit for r in self.requests]
        return Together(self.pack, runs, kind, rows, self.forward(rows), self._evaluate, deadlines).train()

    def _evaluate(self, members: Sequence[int]) -> list[float]:
        """Return held-out scores; members with the same held-out rows are scored together."""
        alike: dict[int | None, list[int]] = {}
        for member in members:
            alike.setdefault(self.requests[member].fidelity.held_out_rows, []).append(member)
        for count, together in alike.items():
            found = self._score(together, self.task.holdout.subset(count))
            for member, metrics in zip(together, found, strict=True):
                self.metrics[member].append(metrics)
        return [self.metrics[member][-1][self.task.data.metric] for member in members]

    def _score(self, members: Sequence[int], split: EncodedSplit) -> list[dict[str, float]]:
        outputs = predict_together(self.pack, members, split, self.forward(split))
        return [score_logits(own, split, self.task.data.kind) for own in outputs]

    def _report(self, member: int, ended: Outcome | TrainingStopped) -> TrialReport:
        if isinstance(ended, TrainingStopped):
            raise ended
        request, weights = self.requests[member], self.pack.members[member]
        found = findings(
            request, weights, self.task, ended, self.metrics[member], lambda split: self._score([member], split)[0]
        )
        return report_on(request, weights, self.task, self.residency, found)

    def _in_shares(self, reports: Sequence[TrialReport]) -> list[TrialReport]:
        """Return the reports with their shares of the pack's time: what is no run's own is shared equally."""
        rest = time.monotonic() - self.started - sum(report.busy_seconds for report in reports)
        share = max(0.0, rest) / len(reports)
        return [report.model_copy(update={"seconds": report.busy_seconds + share}) for report in reports]
