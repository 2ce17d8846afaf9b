"""Where does the time of one trial go? LoRA r=8 on q and v of layers k and up, in this process, phase by phase.

    python benchmarks/profile_trial.py
    python benchmarks/profile_trial.py --task path/to/trec --precision float32 --threads 2

A trial as a search runs it, by the worker's own code, with a clock at its parts; a part that another one calls is not
in that one's seconds. For every k a new worker runs the trial once, for which it loads the model, tokenises the task
and fills the shelf of hidden states, and then several times with all that at hand: of these, medians. Operations are
those of a later run over the least that there could be (flops.py), and what padding has of that.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from flops import Least, count
from peers import MODEL, lora

from autopeft.base_models import describe_model, load_tokenizer
from autopeft.messages import SearchSpec, TaskSpec, TrialReport, TrialRequest
from autopeft.modules.attach import Attachment
from autopeft.tasks import load_task
from workers import proxy
from workers.activations import Trunk
from workers.data import EncodedSplit, encode_task
from workers.residency import Residency
from workers.training import Loop

LOWEST = (0, 3, 5)
# Where a phase begins and ends: the calls of these. A step of the loop is what is left of it: clipping and AdamW.
PHASES: dict[str, tuple[tuple[Any, str], ...]] = {
    "load the model": ((Residency, "model"),),
    "read and tokenise the task": ((Residency, "task"),),
    "attach and detach modules, copy weights": (
        (Attachment, "__init__"),
        (Attachment, "detach"),
        (Attachment, "state_dict"),
        (Attachment, "load_state_dict"),
    ),
    "fill the shelf": ((Trunk, "forward"),),
    "make batches": ((EncodedSplit, "batch"),),
    "forward": ((Loop, "differentiate"),),
    "backward": ((torch.autograd, "backward"),),
    "optimiser": ((Loop, "step"),),
    "evaluation": ((proxy, "score_split"),),
}
REST = "rest"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Clock:
    """Seconds by phase, each moment counted once: for the innermost phase that it is in.

    Args:
        now: one of :data:`CLOCKS`.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: Counter[str] = Counter()
        self._now = now
        self._phases = [REST]
        self._since = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what is done meanwhile."""
        with ExitStack() as stack:
            for phase, places in PHASES.items():
                for owner, name in places:
                    stack.enter_context(mock.patch.object(owner, name, self._timed(phase, getattr(owner, name))))
            self._since = self._now()
            yield
            self._turn()

    def _timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            self._turn()
            self._phases.append(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self._turn()
                self._phases.pop()

        return run

    def _turn(self) -> None:
        now = self._now()
        self.seconds[self._phases[-1]] += now - self._since
        self._since = now


def run_timed(request: TrialRequest, now: Callable[[], float]) -> tuple[TrialReport, dict[str, float]]:
    """Run a trial; return its report and its seconds by phase."""
    clock = Clock(now)
    with clock.running():
        report = proxy.run(request)
    assert report.state == "complete", report.detail
    return report, dict(clock.seconds)


def profile(
    request: TrialRequest, repeats: int, now: Callable[[], float]
) -> tuple[TrialReport, dict[str, float], dict[str, float], float]:
    """Return a report, the first run's seconds, the later runs' median seconds, and a later run's operations."""
    with mock.patch.object(proxy, "_residency", None):  # a new worker
        report, first = run_timed(request, now)
        later = [run_timed(request, now)[1] for _ in range(repeats)]
        operations = count(lambda: proxy.run(request))
    medians = {phase: statistics.median(one.get(phase, 0.0) for one in later) for phase in (*PHASES, REST)}
    return report, first, medians, operations


def main() -> None:
    """Profile every lowest layer and print one table."""
    parser = argparse.ArgumentParser(description="The phases of one trial.")
    parser.add_argument("--task", default="docstrings", help="a task as `autopeft search --task` takes it")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu: where the machine has other work too")
    parser.add_argument("--rows", type=int, help="training rows, in place of a search's own")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    spec, geometry = SearchSpec(task=TaskSpec(name=given.task)), describe_model(MODEL).geometry
    fidelity = spec.proxy if given.rows is None else spec.proxy.model_copy(update={"rows": given.rows})
    task = encode_task(load_task(spec.task), load_tokenizer(MODEL), spec.task.max_length)
    columns: list[list[str]] = []
    for lowest in LOWEST:
        request = TrialRequest(
            key="",
            model=MODEL,
            task=spec.task,
            architecture=lora(geometry.layers, lowest).to_dict(),
            fidelity=fidelity,
            training=spec.training,
            precision=given.precision,
        )
        report, first, later, operations = profile(request, given.repeats, CLOCKS[given.clock])
        dtype = proxy.resident().dtype(request)
        least = Least(geometry.layers, geometry.width, lowest, report.head_params, dtype)
        rows, held_out = task.train.subset(fidelity.rows), task.holdout.subset(fidelity.held_out_rows)
        floor, padded = least.trial(rows, held_out, report, spec.training.batch_size, request.seed)
        over = f"{operations / floor:.2f}, padding {padded / floor:.2f}"
        columns += [
            [f"k={lowest}: first, s", *(f"{first.get(phase, 0.0):.3f}" for phase in later), *_sum(first), "", ""],
            ["later, s (share)", *_shares(later), *_sum(later), over, f"{operations / sum(later.values()) / 1e9:.0f}"],
        ]
    run = f"{report.steps} steps, {len(report.curve)} evaluations, {report.device}"
    head = f"{run}, {given.threads} thread(s), {given.clock} time"
    print(table([[head, *PHASES, REST, "all", "operations over the least", "10^9 a second"], *columns]))


def _shares(seconds: dict[str, float]) -> list[str]:
    return [f"{one:.3f} ({one / sum(seconds.values()):.1%})" for one in seconds.values()]


def _sum(seconds: dict[str, float]) -> list[str]:
    return [f"{sum(seconds.values()):.3f}"]


def table(columns: list[list[str]]) -> str:
    """Return columns, each with its head, as a table."""
    head, *rows = zip(*columns, strict=True)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
