"""Axolotl's YAML: LoRA on a causal language model, with ranks, alphas and layers of its own for every module."""

from __future__ import annotations

from typing import Any

from autopeft.exporters.language import ROWS, language_exporter, training_numbers, whole_alpha
from autopeft.exporters.opened import Opened
from autopeft.exporters.peft import lora_config

STORED: dict[str, dict[str, Any]] = {
    "none": {"adapter": "lora"},
    "int8": {"adapter": "lora", "load_in_8bit": True},
    "nf4": {
        "adapter": "qlora",
        "load_in_4bit": True,
        "bnb_config_kwargs": {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    },
}
PRECISION = {"auto": "auto", "bfloat16": True, "float32": False}


def _document(opened: Opened) -> dict[str, Any]:
    recipe = opened.recipe
    lora, model = lora_config(opened), recipe.base_model
    document = {
        "base_model": opened.location,
        **({"revision_of_model": model.hash} if model.location == "hub" else {}),
        **STORED[recipe.architecture.quantisation],
        "lora_r": lora["r"],
        "lora_alpha": whole_alpha(lora["lora_alpha"]),
        "lora_dropout": 0.0,
        "lora_target_modules": lora["target_modules"],
        "lora_rank_pattern": lora["rank_pattern"],
        "lora_alpha_pattern": {path: whole_alpha(value) for path, value in lora["alpha_pattern"].items()},
        "lora_fan_in_fan_out": lora["fan_in_fan_out"],
        "datasets": [
            {
                "path": ROWS,
                "ds_type": "json",
                "type": {
                    "field_instruction": "prompt",
                    "field_output": "completion",
                    "format": "{instruction}\n",
                    "no_input_format": "{instruction}\n",
                },
            }
        ],
        "train_on_inputs": False,
        "sequence_len": recipe.task.max_length,
        "micro_batch_size": opened.settings.batch_size,
        "num_epochs": opened.fidelity.epochs,
        "optimizer": "adamw_torch_fused",
        "lr_scheduler": "linear",
        **training_numbers(opened),
        "bf16": PRECISION[recipe.training.precision],
        "output_dir": "trained",
    }
    return {name: value for name, value in document.items() if value != {}}


EXPORTER = language_exporter(
    "axolotl",
    summary="YAML for axolotl; LoRA on a causal language model, without the task head",
    tool="axolotl 0.19.0",
    file="axolotl.yaml",
    command="axolotl train axolotl.yaml",
    document=_document,
    pattern=True,
)
