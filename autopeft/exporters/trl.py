"""TRL's YAML for ``trl sft``: LoRA of one rank on a causal language model; layers are chosen by full names."""

from __future__ import annotations

from typing import Any

from autopeft.exporters.language import ROWS, language_exporter, training_numbers, whole_alpha
from autopeft.exporters.opened import Opened
from autopeft.exporters.peft import lora_config

STORED: dict[str, dict[str, Any]] = {
    "none": {},
    "int8": {"load_in_8bit": True},
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True},
}


def _document(opened: Opened) -> dict[str, Any]:
    recipe = opened.recipe
    lora, model = lora_config(opened), recipe.base_model
    bfloat16 = recipe.training.precision != "float32"
    return {
        "model_name_or_path": opened.location,
        **({"model_revision": model.hash} if model.location == "hub" else {}),
        **STORED[recipe.architecture.quantisation],
        "dtype": "bfloat16" if bfloat16 else "float32",
        "use_peft": True,
        "lora_r": lora["r"],
        "lora_alpha": whole_alpha(lora["lora_alpha"]),
        "lora_dropout": 0.0,
        "lora_target_modules": lora["target_modules"],
        "datasets": [{"path": "json", "data_files": ROWS}],
        "max_length": recipe.task.max_length,
        "per_device_train_batch_size": opened.settings.batch_size,
        "num_train_epochs": opened.fidelity.epochs,
        "optim": "adamw_torch_fused",
        "lr_scheduler_type": "linear",
        **training_numbers(opened),
        "bf16": bfloat16,
        "output_dir": "trained",
    }


EXPORTER = language_exporter(
    "trl",
    summary="YAML for `trl sft`; LoRA of one rank on a causal language model, without the task head",
    tool="trl 1.16.0",
    file="trl.yaml",
    command="trl sft --config trl.yaml",
    document=_document,
)
