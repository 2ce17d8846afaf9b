"""LLaMA-Factory's YAML: LoRA of one rank on a causal language model; layers are chosen by the modules' full names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autopeft.base_models import find_model
from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.language import ROWS, language_fit, training_numbers, whole_alpha, write_yaml
from autopeft.exporters.opened import open_recipe
from autopeft.exporters.peft import lora_config
from autopeft.recipe import Recipe

FILE, DATA = "llama-factory.yaml", "dataset_info.json"
TOOL = "llamafactory 0.9.5"
COMMAND = f"llamafactory-cli train {FILE}"
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
COLUMNS = {"prompt": "prompt", "response": "completion"}


def _fit(recipe: Recipe, weights: Path | None) -> Fit:
    return language_fit(open_recipe(recipe), "LLaMA-Factory", pattern=False)


def _files(recipe: Recipe, weights: Path | None) -> dict[str, bytes]:
    opened = open_recipe(recipe)
    lora, model = lora_config(opened), recipe.base_model
    document = {
        "model_name_or_path": find_model(opened.address).location,
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
    data = {"rows": {"file_name": ROWS, "columns": COLUMNS}}
    return {
        FILE: write_yaml(recipe, TOOL, COMMAND, _fit(recipe, weights), document),
        DATA: (json.dumps(data, indent=2) + "\n").encode(),
    }


EXPORTER = Exporter(
    summary="YAML for LLaMA-Factory; LoRA of one rank on a causal language model, without the task head",
    tool=TOOL,
    usage=f"# first make {ROWS}, as {FILE} says\n{COMMAND}",
    fit=_fit,
    files=_files,
)
