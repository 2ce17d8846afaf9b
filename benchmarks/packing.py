"""How much faster do candidates train in one pass than one after another?

    python benchmarks/packing.py --members 8 16 --device cuda     a table for docs/performance.md
    python benchmarks/packing.py --members 2 4 --device cpu --tiny --json

A model of RoBERTa-base's shape with random weights, in the type that a worker would take on the device, batches of 16
rows of 128 tokens, no hidden states kept. A round is the same steps twice, in turns: one candidate after another, and
all as a pack. It gives the ratio of their rows a second; ratios are told as median and range over the rounds. Two
packs: candidates of one kind (LoRA r=8 on query and value, whose modules run as one product), and the hand-made
baselines by turns, whose modules mostly run apart. Head only is not among them: it is packed with its like alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, RobertaConfig

from autopeft.architecture import Architecture
from autopeft.baselines import HEAD_ONLY, baselines, preset
from autopeft.geometry import ModelGeometry
from autopeft.messages import Fidelity, TrainingSettings
from autopeft.modules.attach import Attachment
from autopeft.modules.attention import IMPLEMENTATION
from autopeft.modules.pack import Pack
from autopeft.modules.weights import Weights
from workers.activations import plain
from workers.data import EncodedSplit
from workers.devices import device_name, pick_dtype
from workers.packing import Together
from workers.training import Loop, Run, train

ROBERTA_BASE: dict[str, Any] = {"vocab_size": 50265, "max_position_embeddings": 514}
TINY: dict[str, Any] = {
    "vocab_size": 1000,
    "max_position_embeddings": 514,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
SETTINGS = TrainingSettings(batch_size=16)
KIND = "classification"


class Bench:
    """A model on a device, and the rows of a few steps."""

    def __init__(self, shape: dict[str, Any], device: torch.device, steps: int, length: int) -> None:
        torch.manual_seed(0)
        self.config = RobertaConfig(**shape, num_labels=2)
        self.geometry = ModelGeometry.from_config(self.config.to_dict())
        self.device, self.dtype = device, pick_dtype("auto", device)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(self.config, dtype=self.dtype)
        self.model = model.to(device)
        self.model.set_attn_implementation(IMPLEMENTATION)
        count = steps * SETTINGS.batch_size
        ids = torch.randint(5, self.config.vocab_size, (count, length)).tolist()
        self.rows = EncodedSplit(ids, None, torch.arange(count) % 2, 1)
        self.fidelity = Fidelity(epochs=1, evaluations=1)

    def apart(self, candidates: Sequence[Architecture]) -> float:
        """Return the seconds of training one candidate after another."""
        began = self._now()
        for seed, architecture in enumerate(candidates):
            with Attachment(self.model, architecture, self.geometry, seed) as attachment:
                train(attachment, self.rows, KIND, SETTINGS, self.fidelity, seed, lambda: 0.0)
        return self._now() - began

    def together(self, candidates: Sequence[Architecture]) -> float:
        """Return the seconds of training all as a pack."""
        began = self._now()
        members = [Weights(self.model, one, self.geometry, seed) for seed, one in enumerate(candidates)]
        with Pack(members) as pack:
            runs = [
                Run(weights, Loop(weights, KIND, SETTINGS), self.rows, self.fidelity, seed)
                for seed, weights in enumerate(members)
            ]
            forward, endless = plain(self.model), [None] * len(runs)
            Together(pack, runs, KIND, self.rows, forward, lambda places: [0.0] * len(places), endless).train()
        return self._now() - began

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def compare(bench: Bench, candidates: Sequence[Architecture], rounds: int) -> dict[str, float]:
    """Run both ways by turns; return rows a second of each, and the ratio's median and range."""
    ways = [bench.apart, bench.together]
    seconds: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for way in (0, 1) if number % 2 else (1, 0):
            spent = ways[way](candidates)
            if number:  # the first round warms up
                seconds[way].append(spent)
    rows = len(candidates) * len(bench.rows)
    ratios = [apart / together for apart, together in zip(*seconds, strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "rows_a_second_apart": rows / statistics.median(seconds[0]),
        "rows_a_second_together": rows / statistics.median(seconds[1]),
    }


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description="Candidates in one pass against one after another.")
    parser.add_argument("--members", type=int, nargs="+", default=[8, 16], help="sizes of the packs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=16, help="of each candidate in a round")
    parser.add_argument("--length", type=int, default=128, help="tokens of a row")
    parser.add_argument("--tiny", action="store_true", help="4 layers of width 128 in place of RoBERTa-base's shape")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = TINY if options.tiny else ROBERTA_BASE
    bench = Bench(shape, torch.device(options.device), options.steps, options.length)
    with_modules = [one for title, one in baselines(bench.geometry).items() if title != HEAD_ONLY]
    kinds = {"lora": [preset("lora", bench.geometry)], "baselines": with_modules}
    found: dict[str, Any] = {"device": device_name(bench.device, bench.dtype)}
    for members in options.members:
        for kind, architectures in kinds.items():
            figures = compare(bench, list(islice(cycle(architectures), members)), options.rounds)
            found[f"{kind}_{members}"] = figures
            print(f"{kind} x{members}: {figures['ratio']:.2f}", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found.pop('device')}\n")
    print("| pack | times as fast, median | range | rows a second, apart | together |")
    print("| --- | --- | --- | --- | --- |")
    for name, one in found.items():
        kind, _, members = name.rpartition("_")
        print(
            f"| {members} of {kind} | {one['ratio']:.2f} | {one['low']:.2f} to {one['high']:.2f} | "
            f"{one['rows_a_second_apart']:.0f} | {one['rows_a_second_together']:.0f} |"
        )


if __name__ == "__main__":
    main()
