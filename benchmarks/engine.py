"""How fast is one trial? AutoPEFT's workers against HF Trainer, run by turns in one process on the same work.

    python benchmarks/engine.py                 tables for docs/performance.md
    python benchmarks/engine.py --quick --json  one JSON object in under 8 minutes

Peers:

(a) HF Trainer with peft: the base model stays in the process, each trial puts LoRA r=8 on q and v of layers k and up.
(b) HF Trainer as people write it in an Optuna objective: the model is loaded anew for every trial. It trains what a
    real search asked for (known_cost on the recorded runs of trec), whose modules peft does not have, with AutoPEFT's.

Both get what a careful user gives them: rows grouped by length, padding to the longest of a batch, no dropout in the
frozen base, nothing logged or saved. Rows, steps, batch sizes, type (float32) and threads are the same. Seconds are
wall time; a pair of runs gives a ratio, and ratios are given as median and range. What AutoPEFT computes once for many
runs (hidden states below a boundary) is in its first run's time, which is not among the pairs but reported beside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from samplers import HERE, Arm, World
from torch.utils.flop_counter import FlopCounterMode
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model, load_model, load_tokenizer
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings, TrialRequest
from autopeft.modules.attach import Attachment
from autopeft.tasks import load_task
from workers import proxy
from workers.activations import Shelf, Trunk, plain
from workers.data import EncodedSplit, EncodedTask, encode_task
from workers.training import Loop

MODEL = "minilm"
CPU = torch.device("cpu")
LOWEST = (0, 3, 5)
SETTINGS = TrainingSettings()


class Bench:
    """A task, encoded once for both sides."""

    def __init__(self, task: str, rows: int, epochs: float, held_out: int) -> None:
        self.task = TaskSpec(name=task)
        self.fidelity = Fidelity(rows=rows, epochs=epochs, evaluations=1, held_out_rows=held_out)
        self.geometry = describe_model(MODEL).geometry
        self.encoded: EncodedTask = encode_task(load_task(self.task), load_tokenizer(MODEL), self.task.max_length)
        self.train = self.encoded.train.subset(rows)
        self.held_out = self.encoded.holdout.subset(held_out)
        self.sets = [_dataset(split) for split in (self.train, self.held_out)]
        self.folder = tempfile.mkdtemp(prefix="engine-")
        self.outputs = self.encoded.data.outputs

    def ours(self, architecture: Architecture, seed: int) -> tuple[float, float]:
        """Train a trial as a worker does; return its wall seconds, and those outside steps and evaluation."""
        request = TrialRequest(
            key="",
            model=MODEL,
            task=self.task,
            architecture=architecture.to_dict(),
            fidelity=self.fidelity,
            training=SETTINGS,
            precision="float32",
            seed=seed,
        )
        began = time.perf_counter()
        report = proxy.run(request)
        assert report.state == "complete", report.detail
        return time.perf_counter() - began, report.seconds - report.busy_seconds

    def fit(self, model: Any, seed: int) -> None:
        """Train and evaluate a model with HF Trainer."""
        settings = TrainingArguments(
            output_dir=self.folder,
            per_device_train_batch_size=SETTINGS.batch_size,
            per_device_eval_batch_size=64,
            num_train_epochs=self.fidelity.epochs,
            learning_rate=2e-3,
            warmup_steps=3,
            train_sampling_strategy="group_by_length",
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        )
        collator = DataCollatorWithPadding(load_tokenizer(MODEL))
        trainer = Trainer(
            model, settings, train_dataset=self.sets[0], eval_dataset=self.sets[1], data_collator=collator
        )
        trainer.remove_callback(PrinterCallback)  # stdout is for the figures
        trainer.train()
        trainer.evaluate()

    def with_peft(self, model: Any, lowest: int, seed: int) -> float:
        """Train LoRA from a layer up with peft on a resident model; return the wall seconds."""
        began = time.perf_counter()
        config = LoraConfig(
            task_type="SEQ_CLS",
            r=8,
            lora_alpha=16,
            target_modules=["query", "value"],
            layers_to_transform=list(range(lowest, self.geometry.layers)),
            layers_pattern="layer",
        )
        wrapped = get_peft_model(model, config)
        self.fit(wrapped, seed)
        wrapped.unload()
        return time.perf_counter() - began

    def anew(self, architecture: Architecture, seed: int) -> float:
        """Load the model and train an architecture on it with HF Trainer; return the wall seconds."""
        began = time.perf_counter()
        model = self.load()
        with Attachment(model, architecture, self.geometry, seed) as attachment:
            # Trainer sees the parameters of the model and of its children alone.
            model.peft_modules = attachment.modules
            self.fit(model, seed)
        return time.perf_counter() - began

    def load(self) -> Any:
        """Return the model as a peer has it, without dropout."""
        model = load_model(MODEL, "classification", self.outputs, CPU, torch.float32)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    def flops(self, lowest: int) -> float:
        """Return what a training step of the whole model multiplies, over what one of AutoPEFT's does."""
        model = self.load()
        batch = self.train.batch(list(range(SETTINGS.batch_size)))
        counts = []
        for spares in (False, True):
            with Attachment(model, lora(self.geometry.layers, lowest), self.geometry, 0) as attachment:
                forward = Trunk(attachment, Shelf()).forward(self.train) if spares else plain(model)
                loop = Loop(attachment, "classification", SETTINGS, forward=forward)
                with FlopCounterMode(display=False) as counter:
                    loop.differentiate(batch, loop.parameters)
            counts.append(counter.get_total_flops())
        return counts[0] / counts[1]


def lora(layers: int, lowest: int) -> Architecture:
    """LoRA r=8 on query and value from a layer up."""
    sites = ("attention.query", "attention.value")
    return Architecture(tuple(Placement("lora", site, layer, 8) for site in sites for layer in range(lowest, layers)))


def pairs(
    theirs: Callable[[int], float], ours: Callable[[int], tuple[float, float]], count: int
) -> tuple[dict[str, float], list[float]]:
    """Run both sides by turns; return the ratio's median and range, and our seconds outside steps and evaluation."""
    first = ours(0)[0]
    theirs(0)
    ratios, seconds, outside = [], [], []
    for seed in range(1, count + 1):
        if seed % 2:
            a, (b, rest) = theirs(seed), ours(seed)
        else:
            (b, rest), a = ours(seed), theirs(seed)
        ratios.append(a / b)
        seconds.append(b)
        outside.append(rest)
    middle = statistics.median(seconds)
    found = {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return {**found, "seconds": middle, "first_run_more": first - middle}, outside


def asked(count: int) -> list[Architecture]:
    """Return what a search of 40 trials on recorded runs asked for, evenly thinned to ``count``."""
    course = World(HERE / "trec.jsonl.gz", "autopeft").search(Arm("known_cost", "none", 40), 0)
    step = len(course.asked) / count
    return [course.asked[int(index * step)] for index in range(count)]


def _dataset(split: EncodedSplit) -> Dataset:
    rows = {"input_ids": split.ids, "labels": split.targets.tolist()}
    return Dataset.from_dict({**rows, "attention_mask": [[1] * len(ids) for ids in split.ids]})


def measure(task: str, quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Return every figure."""
    bench = Bench(task, rows=256 if quick else 1000, epochs=1.5 if quick else 3, held_out=128 if quick else 500)
    count = 3 if quick else 13
    layers = bench.geometry.layers
    resident, found, outside = bench.load(), dict[str, Any](), list[float]()
    for lowest in LOWEST:
        architecture = lora(layers, lowest)
        figures, rest = pairs(
            lambda seed, lowest=lowest: bench.with_peft(resident, lowest, seed),
            lambda seed, architecture=architecture: bench.ours(architecture, seed),
            count,
        )
        outside += rest
        found[f"k{lowest}"] = figures | {"flops": bench.flops(lowest)}
        report(f"k={lowest}: {_say(figures)}")
    mix = asked(5 if quick else 40)
    totals, ratios = [0.0, 0.0], []
    for seed, architecture in enumerate(mix):
        a, (b, rest) = bench.anew(architecture, seed), bench.ours(architecture, seed)
        totals = [totals[0] + a, totals[1] + b]
        ratios.append(a / b)
        outside.append(rest)
        report(f"mix {seed + 1} of {len(mix)}: {a / b:.2f}")
    found["mix"] = {"ratio": totals[0] / totals[1], "low": min(ratios), "high": max(ratios), "trials": len(mix)}
    found["mix"]["trials_a_minute"] = 60 * len(mix) / totals[1]
    found["overhead_seconds"] = statistics.median(outside)
    return found


def _say(figures: dict[str, float]) -> str:
    return f"{figures['ratio']:.2f} times ({figures['low']:.2f} to {figures['high']:.2f})"


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description="AutoPEFT's workers against HF Trainer.")
    parser.add_argument("--task", default="docstrings", help="a task as `autopeft search --task` takes it")
    parser.add_argument("--quick", action="store_true", help="few and short runs")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write everything that was found to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    found = measure(options.task, options.quick, lambda line: print(line, file=sys.stderr, flush=True))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    if options.json:
        short = {name: round(found[name]["ratio"], 3) for name in ("k0", "k3", "k5", "mix")}
        print(json.dumps({**short, "overhead_seconds": round(found["overhead_seconds"], 4)}))
        return
    print("| | times as fast | range | s a trial | first run, s more | FLOPs of the whole model over AutoPEFT's |")
    print("| --- | --- | --- | --- | --- | --- |")
    for lowest in LOWEST:
        one = found[f"k{lowest}"]
        print(
            f"| k={lowest} against (a) | {one['ratio']:.2f} | {one['low']:.2f} to {one['high']:.2f} | "
            f"{one['seconds']:.2f} | {one['first_run_more']:.2f} | {one['flops']:.2f} |"
        )
    mix = found["mix"]
    print(f"\nMix of {mix['trials']} against (b): {_say(mix)}; {mix['trials_a_minute']:.1f} trials a minute.")
    print(f"Outside steps and evaluation: {found['overhead_seconds']:.3f} s a trial.")


if __name__ == "__main__":
    main()
