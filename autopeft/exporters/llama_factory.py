"""LLaMA-Factory's YAML: LoRA of one rank on a causal language model; layers are chosen by the modules' full names."""

from __future__ import annotations

import json
from typing import Any

from autopeft.exporters.language import ROWS, language_exporter, training_numbers, whole_alpha
from autopeft.exporters.opened import Opened
from autopeft.exporters.peft import lora_config

STORED: dict[str, dict[str, Any]] = {
    "none": {},
    "int8": {"quantization_bit": 8, "quantization_method": "bnb"},
    "nf4": {
        "quantization_bit": 4,
        "quantization_method": "bnb",
        "quantization_type": "nf4",
        "double_quantization": True,
    },
}
DATA = {"rows": {"file_name": ROWS, "columns": {"prompt": "prompt", "response": "completion"}}}


def _document(opened: Opened) -> dict[str, Any]:
    recipe = opened.recipe
    lora, model = lora_config(opened), recipe.base_model
    return {
        "model_name_or_path": opened.location,
        **({"model_revision": model.hash} if model.location == "hub" else {}),
        **STORED[recipe.architecture.quantisation],
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": lora["r"],
        "lora_alpha": whole_alpha(lora["lora_alpha"]),
        "lora_dropout": 0.0,
        "lora_target": ",".join(lora["target_modules"]),
        "dataset_dir": ".",
        "dataset": "rows",
        "template": "default",
        "cutoff_len": recipe.task.max_length,
        "per_device_train_batch_size": opened.settings.batch_size,
        "num_train_epochs": opened.fidelity.epochs,
        "optim": "adamw_torch_fused",
        "lr_scheduler_type": "linear",
        **training_numbers(opened),
        "bf16": recipe.training.precision != "float32",
        "output_dir": "trained",
    }


EXPORTER = language_exporter(
    "LLaMA-Factory",
    summary="YAML for LLaMA-Factory; LoRA of one rank on a causal language model, without the task head",
    tool="llamafactory 0.9.5",
    file="llama-factory.yaml",
    command="llamafactory-cli train llama-factory.yaml",
    document=_document,
    beside={"dataset_info.json": (json.dumps(DATA, indent=2) + "\n").encode()},
)
