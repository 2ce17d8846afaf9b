"""HF Trainer on the work that AutoPEFT's workers do: the peers of engine.py and end_to_end.py.

They get what a careful user gives them: rows grouped by length, padding to the longest of a batch, no dropout in the
frozen base, nothing logged or saved. What is trained at AutoPEFT's own learning rates is so here too.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import DataCollatorWithPadding, EvalPrediction, PrinterCallback, Trainer, TrainingArguments

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model, load_model, load_tokenizer
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings
from autopeft.modules.attach import Attachment
from autopeft.tasks import load_task
from autopeft.tasks.metrics import score_all
from workers.data import EncodedSplit, encode_task
from workers.training import rated

MODEL = "minilm"
CPU = torch.device("cpu")
SETTINGS = TrainingSettings()


@dataclass(frozen=True)
class Fitted:
    """One trial of a peer.

    Attributes:
        seconds: wall time of all of it; ``busy`` of Trainer's training and evaluation alone.
        score: of the task's metric on the held-out rows after the last step.
    """

    seconds: float
    busy: float
    score: float


class Peer:
    """A classification task, tokenised once, and HF Trainer on it, on the CPU; in float32 unless asked otherwise."""

    def __init__(self, task: TaskSpec, fidelity: Fidelity) -> None:
        self.task, self.fidelity = task, fidelity
        self.geometry = describe_model(MODEL).geometry
        encoded = encode_task(load_task(task), load_tokenizer(MODEL), task.max_length)
        self.metric, self.outputs = encoded.data.metric, encoded.data.outputs
        self.rows = encoded.train.subset(fidelity.rows)
        self.held_out = encoded.holdout.subset(fidelity.held_out_rows)
        self._sets = _dataset(self.rows), _dataset(self.held_out)

    def load(self) -> Any:
        """Return the model, without dropout."""
        model = load_model(MODEL, "classification", self.outputs, CPU, torch.float32)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    def with_peft(self, model: Any, lowest: int, seed: int) -> Fitted:
        """Train LoRA r=8 on query and value from a layer up with peft, on a model that stays."""
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
        busy, score = self._fit(wrapped, seed)
        wrapped.unload()
        return Fitted(time.perf_counter() - began, busy, score)

    def anew(self, architecture: Architecture, seed: int, bf16: bool = False) -> Fitted:
        """Load the model and train an architecture on it; with ``bf16`` under Trainer's autocast."""
        began = time.perf_counter()
        model = self.load()
        with Attachment(model, architecture, self.geometry, seed) as attachment:
            # Trainer sees the parameters of the model and of its children alone.
            model.peft_modules = attachment.modules
            optimizer = torch.optim.AdamW(rated(attachment, SETTINGS), weight_decay=SETTINGS.weight_decay, fused=True)
            busy, score = self._fit(model, seed, optimizer, bf16)
        return Fitted(time.perf_counter() - began, busy, score)

    def _fit(
        self, model: Any, seed: int, optimizer: torch.optim.Optimizer | None = None, bf16: bool = False
    ) -> tuple[float, float]:
        """Train and evaluate a model; return the seconds of the two, and the score."""
        with tempfile.TemporaryDirectory(prefix="peer-") as folder:
            settings = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=SETTINGS.batch_size,
                per_device_eval_batch_size=64,
                num_train_epochs=self.fidelity.epochs,
                learning_rate=2e-3,
                warmup_steps=SETTINGS.warmup,
                max_grad_norm=SETTINGS.gradient_clip,
                train_sampling_strategy="group_by_length",
                dataloader_pin_memory=False,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                bf16=bf16,
                seed=seed,
            )
            trainer = Trainer(
                model,
                settings,
                train_dataset=self._sets[0],
                eval_dataset=self._sets[1],
                data_collator=DataCollatorWithPadding(load_tokenizer(MODEL)),
                compute_metrics=self._score,
                optimizers=(optimizer, None),
            )
            trainer.remove_callback(PrinterCallback)  # stdout is for the figures
            began = time.perf_counter()
            trainer.train()
            found = trainer.evaluate()
            return time.perf_counter() - began, found["eval_score"]

    def _score(self, predicted: EvalPrediction) -> dict[str, float]:
        classes = np.asarray(predicted.predictions).argmax(axis=1)
        return {"score": score_all("classification", np.asarray(predicted.label_ids), classes)[self.metric]}


def lora(layers: int, lowest: int) -> Architecture:
    """LoRA r=8 on query and value from a layer up."""
    sites = ("attention.query", "attention.value")
    return Architecture(tuple(Placement("lora", site, layer, 8) for site in sites for layer in range(lowest, layers)))


def _dataset(split: EncodedSplit) -> Dataset:
    columns = {"input_ids": split.ids, "labels": split.targets.tolist()}
    if split.segments is not None:
        columns["token_type_ids"] = split.segments
    return Dataset.from_dict({**columns, "attention_mask": [[1] * len(ids) for ids in split.ids]})
