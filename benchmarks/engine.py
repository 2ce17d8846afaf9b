"""How fast is one trial? AutoPEFT's workers against HF Trainer and Ray Tune, by turns, on the same work.

    python benchmarks/engine.py --out engine.json   tables for docs/performance.md; hours, kept as they come
    python benchmarks/engine.py --quick --json      one JSON object in under 8 minutes

Peers (see peers.py and tuner.py):

(a) HF Trainer with peft: the base model stays in the process, each trial puts LoRA r=8 on q and v of layers k and up.
(b) HF Trainer as people write it in an Optuna objective: the model is loaded anew for every trial. It trains what a
    real search asked for (known_cost on the recorded runs of trec), whose modules peft does not have, with AutoPEFT's.
(c) Ray Tune with OptunaSearch, whose trials are those of (b), one at a time; with `reuse_actors` and without. Ray is
    started before the clock is. Not with --quick.

Rows, steps, batch sizes, type (float32), threads and padding are the same. Seconds are wall time. Against (a), a pair
of runs gives a ratio. The mix is run in blocks, each by all sides, which begin in turn; a block gives a ratio. Ranges
are of these ratios; against (a) the ratio is their median, of the mix it is that of the sums. What AutoPEFT computes
once for many runs (hidden states below a boundary) is in its first run's time, which is not among the pairs but
reported beside; in the mix, it is among the rest, as is the loading of the model. The mix is also run in other types:
by AutoPEFT in that which it chooses by itself, by (b) in Trainer's bfloat16; `mix_auto` is the first against the
faster of (b)'s two.

Overhead is wall time outside training steps and evaluation; of a peer, outside Trainer's `train` and `evaluate`.
Operations are those of matrix products in a whole trial, its evaluation too, with hidden states at hand, over the
least that there could be for its rows without padding (flops.py). Memory is the peak of a new process that runs one
trial; of (c), that of the hungriest trial of the mix.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import transformers
from kept import Kept
from peers import lora
from samplers import HERE, Arm, World
from sides import SIDES, Bench, Mix, Size, memory, resident
from tuner import local_ray

from autopeft.architecture import Architecture

LOWEST = (0, 3, 5)
MEASURED = {"ours": "AutoPEFT", "a": "(a)", "b": "(b)"}
QUICK = Size(rows=256, epochs=1.5, held_out=128, pairs=3, mix=5, block=1)
FULL = Size(rows=1000, epochs=3, held_out=500, pairs=13, mix=40, block=10)
Figures = dict[str, float]


class Course:
    """The benchmark from wherever its file stands to its figures.

    Args:
        quick: without (c), operations and memory.
        say: is told of every figure.
    """

    def __init__(
        self, task: str, size: Size, threads: int, quick: bool, kept: Kept, say: Callable[[str], None]
    ) -> None:
        self._bench = Bench(task, size, threads)
        self._task, self._size, self._quick, self._kept, self._say = task, size, quick, kept, say

    def measure(self) -> dict[str, Any]:
        """Return every figure."""
        found: dict[str, Any] = {f"k{lowest}": self._pairs(lowest) for lowest in LOWEST}
        with nullcontext() if self._quick else local_ray():
            found["mix"] = self._mix([side for side in SIDES if not (self._quick and side.startswith("c"))])
        if not self._quick:
            for k in LOWEST:
                found[f"k{k}"]["operations"] = self._kept.get(f"operations {k}", lambda k=k: self._bench.operations(k))
                found[f"k{k}"]["memory"] = {side: self._memory(side, k) for side in MEASURED}
        found["overhead_seconds"] = statistics.median(
            self._kept.found[f"k{k} {seed}"]["outside"] for k in LOWEST for seed in range(1, self._size.pairs + 1)
        )
        return found

    def _pairs(self, lowest: int) -> dict[str, Any]:
        """Run (a) and AutoPEFT by turns, and return the medians and the ratio's range."""
        architecture, kept = lora(self._bench.layers, lowest), self._kept
        names = {f"k{lowest} {seed}": seed for seed in range(1, self._size.pairs + 1)}
        resident = self._bench.peer.load()
        if not all(name in kept for name in names):  # both are warm before the first pair
            first = self._bench.ours(architecture, 0)[0]
            kept.get(f"k{lowest} first", lambda: first)
            self._bench.peer.with_peft(resident, lowest, 0)
        found = [kept.get(name, lambda seed=seed: self._pair(resident, lowest, seed)) for name, seed in names.items()]
        figures = {name: statistics.median(one[name] for one in found) for name in found[0]}
        figures |= _range([one["ratio"] for one in found])
        figures["first_run_more"] = kept.found[f"k{lowest} first"] - figures["seconds"]
        self._say(f"k={lowest}: {_say(figures)}")
        return figures

    def _pair(self, resident: Any, lowest: int, seed: int) -> Figures:
        architecture = lora(self._bench.layers, lowest)
        if seed % 2:
            a, (b, rest) = self._bench.peer.with_peft(resident, lowest, seed), self._bench.ours(architecture, seed)
        else:
            (b, rest), a = self._bench.ours(architecture, seed), self._bench.peer.with_peft(resident, lowest, seed)
        return {"ratio": a.seconds / b, "seconds": b, "outside": rest, "theirs_outside": a.seconds - a.busy}

    def _mix(self, sides: Sequence[str]) -> dict[str, Figures]:
        """Run what a search asked for, block by block, and return every side's figures."""
        mix, size = [(architecture, seed) for seed, architecture in enumerate(asked(self._size.mix))], self._size
        blocks = [mix[start : start + size.block] for start in range(0, size.mix, size.block)]
        found: dict[str, list[Figures]] = {side: [] for side in sides}
        with ExitStack() as stack:
            ways: dict[str, Callable[[str, Mix], Figures]] = dict.fromkeys(sides, self._bench.block)
            for side in ("ours", "ours_auto"):
                ways[side] = stack.enter_context(resident(self._task, size, self._bench.threads))
            for index, block in enumerate(blocks):
                turn = index % len(sides)
                for side in (*sides[turn:], *sides[:turn]):
                    name = f"mix {index} {side}"
                    one = self._kept.get(name, lambda side=side, block=block: ways[side](side, block))
                    found[side].append(one)
                    self._say(f"block {index + 1} of {len(blocks)}, {SIDES[side]}: {one['seconds']:.1f} s")
        return {side: _of_side(runs, found["ours"], found["ours_auto"], size.mix) for side, runs in found.items()}

    def _memory(self, side: str, lowest: int) -> int:
        return self._kept.get(
            f"memory {side} {lowest}", lambda: memory(self._task, self._size, self._bench.threads, side, lowest)
        )


def asked(number: int) -> list[Architecture]:
    """Return what a search of 40 trials on recorded runs asked for, evenly thinned."""
    course = World(HERE / "trec.jsonl.gz", "autopeft").search(Arm("known_cost", "none", 40), 0)
    step = len(course.asked) / number
    return [course.asked[int(index * step)] for index in range(number)]


def _of_side(runs: list[Figures], ours: list[Figures], ours_auto: list[Figures], trials: int) -> dict[str, Any]:
    return {
        **_against(runs, ours),
        "auto": _against(runs, ours_auto),
        "trials_a_minute": 60 * trials / sum(run["seconds"] for run in runs),
        "outside": sum(run["outside"] for run in runs) / trials,
        "memory": max(run.get("memory", 0.0) for run in runs),
    }


def _against(runs: list[Figures], ours: list[Figures]) -> Figures:
    seconds = [(run["seconds"], own["seconds"]) for run, own in zip(runs, ours, strict=True)]
    ratio = sum(theirs for theirs, _ in seconds) / sum(own for _, own in seconds)
    return {"ratio": ratio, **_range([theirs / own for theirs, own in seconds])}


def _range(ratios: list[float]) -> Figures:
    return {"low": min(ratios), "high": max(ratios)}


def _say(figures: dict[str, Any]) -> str:
    return f"{figures['ratio']:.2f} ({figures['low']:.2f} to {figures['high']:.2f})"


def tables(found: dict[str, Any], quick: bool) -> str:
    """Return what was found as tables."""
    lines = [
        "| | times as fast, median (range) | s a trial | first run, s more | overhead, s | overhead of (a), s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for k in LOWEST:
        one = found[f"k{k}"]
        cells = [f"{one[name]:.3f}" for name in ("seconds", "first_run_more", "outside", "theirs_outside")]
        lines.append(f"| k={k} against (a) | {_say(one)} | {' | '.join(cells)} |")
    lines += [
        "",
        "| mix | AutoPEFT in float32 is faster, times (range) | in the type that it chooses | trials a minute "
        "| overhead, s a trial |",
        "| --- | --- | --- | --- | --- |",
    ]
    for side, one in found["mix"].items():
        cells = (SIDES[side], _say(one), _say(one["auto"]), f"{one['trials_a_minute']:.1f}", f"{one['outside']:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines if quick else [*lines, "", *_operations(found)])


def _operations(found: dict[str, Any]) -> list[str]:
    lines = [
        "| operations over the least | AutoPEFT | of which padding | (a) | "
        + " | ".join(f"peak memory of {name}, GB" for name in MEASURED.values())
        + " |",
        "| --- " * (4 + len(MEASURED)) + "|",
    ]
    for k in LOWEST:
        one = found[f"k{k}"]["operations"]
        memories = [f"{found[f'k{k}']['memory'][side] / 1e9:.2f}" for side in MEASURED]
        cells = [f"{one[name]:.2f}" for name in ("ours", "padding", "theirs")] + memories
        lines.append(f"| k={k} | {' | '.join(cells)} |")
    hungriest = {SIDES[side]: f"{found['mix'][side]['memory'] / 1e9:.2f} GB" for side in ("c", "c_reused")}
    return [*lines, "", "A trial's process in the mix: " + ", ".join(f"{k} {v}" for k, v in hungriest.items()) + "."]


def main() -> None:
    """Measure, and print tables or one JSON object."""
    parser = argparse.ArgumentParser(description="AutoPEFT's workers against HF Trainer and Ray Tune.")
    parser.add_argument("--task", default="docstrings", help="a task as `autopeft search --task` takes it")
    parser.add_argument("--quick", action="store_true", help="few and short runs")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep what is found in this file, and go on from it")
    for name, quick in asdict(QUICK).items():
        help_text = f"in place of {getattr(FULL, name)} ({quick})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(quick), help=help_text)
    given = parser.parse_args()
    changed = {name: getattr(given, name) for name in asdict(QUICK) if getattr(given, name) is not None}
    size = replace(QUICK if given.quick else FULL, **changed)
    transformers.logging.set_verbosity_error()
    kept = Kept(given.out, {"task": given.task, "threads": given.threads, "quick": given.quick, **asdict(size)})
    course = Course(
        given.task, size, given.threads, given.quick, kept, lambda line: print(line, file=sys.stderr, flush=True)
    )
    found = course.measure()
    if given.out:
        kept.put("figures", found)
    if given.json:
        mix = found["mix"]
        short = {name: found[name]["ratio"] for name in ("k0", "k3", "k5")} | {"mix": mix["b"]["ratio"]}
        short["mix_auto"] = min(mix[side]["auto"]["ratio"] for side in ("b", "b_bfloat16"))
        rounded = {name: round(ratio, 3) for name, ratio in short.items()}
        print(json.dumps({**rounded, "overhead_seconds": round(found["overhead_seconds"], 4)}))
        return
    print(tables(found, given.quick))


if __name__ == "__main__":
    main()
