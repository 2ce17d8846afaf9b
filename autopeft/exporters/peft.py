"""Hugging Face peft's own files: ``adapter_config.json``, and ``adapter_model.safetensors`` of trained weights.

Stock ``PeftModel.from_pretrained(base, folder)`` loads them and computes what our modules compute. The files are
written as text and tensors, without importing peft; their keys are those that peft 0.21 writes. A peft adapter holds
one method, so architectures of one module type alone fit, and of these LoRA, (IA)^3 and LayerNorm tuning.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from autopeft.architecture import Placement
from autopeft.base_models import read_parameters
from autopeft.errors import InvalidInput, Problem
from autopeft.exporters.base import Exporter, Fit
from autopeft.exporters.opened import Opened, alpha, most_common, unlike
from autopeft.modules.plan import full_options
from autopeft.modules.weights import HEAD, MODULES

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
USAGE = """\
python - <<'END'
from peft import AutoPeftModelForSequenceClassification

print(AutoPeftModelForSequenceClassification.from_pretrained(".", num_labels={outputs}))
END"""
Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]


@dataclass(frozen=True)
class _Form:
    """How peft holds one module type.

    Attributes:
        losses: reasons why it cannot hold some placements of that type.
        config: the method's keys of ``adapter_config.json``.
        tensors: from our tensors of every placement to peft's, by their paths in the model.
    """

    losses: Callable[[Opened], list[str]]
    config: Callable[[Opened], dict[str, Any]]
    tensors: Callable[[Opened, Mapping[str, Tensors]], dict[str, Array]]


def _lora_config(adapter: Opened) -> dict[str, Any]:
    ranks = {adapter.path(p): p.size for p in adapter.placements}
    alphas = {adapter.path(p): alpha(p) for p in adapter.placements}
    rank, scale = most_common(ranks.values()), most_common(alphas.values())
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": scale,
        "lora_dropout": 0.0,
        "bias": "none",
        "rank_pattern": unlike(ranks, rank),
        "alpha_pattern": unlike(alphas, scale),
        "fan_in_fan_out": adapter.transposed,
        "init_lora_weights": True,
    }


def _lora_tensors(adapter: Opened, trained: Mapping[str, Tensors]) -> dict[str, Array]:
    tensors = {}
    for p in adapter.placements:
        tensors[f"{adapter.path(p)}.lora_A.weight"] = trained[p.key]["a"]
        tensors[f"{adapter.path(p)}.lora_B.weight"] = trained[p.key]["b"]
    return tensors


def _ia3_losses(adapter: Opened) -> list[str]:
    twice = [path for path, n in Counter(adapter.path(p) for p in adapter.placements).items() if n > 1]
    return [f"peft's (IA)^3 scales the input or the output of a linear, not both: {path}" for path in twice]


def _ia3_config(adapter: Opened) -> dict[str, Any]:
    return {
        "peft_type": "IA3",
        "feedforward_modules": [adapter.path(p) for p in adapter.placements if scales_input(p)],
        "fan_in_fan_out": adapter.transposed,
        "init_ia3_weights": True,
    }


def _ia3_tensors(adapter: Opened, trained: Mapping[str, Tensors]) -> dict[str, Array]:
    return {
        f"{adapter.path(p)}.ia3_l": trained[p.key]["scale"].reshape((1, -1) if scales_input(p) else (-1, 1))
        for p in adapter.placements
    }


def scales_input(placement: Placement) -> bool:
    """Whether an (IA)^3 scales what its linear reads, rather than what it gives."""
    return placement.site == "ffn.hidden"


def _norm_losses(adapter: Opened) -> list[str]:
    shifted = [p for p in adapter.placements if full_options(p)["bias"] and not adapter.has_bias(p)]
    return [f"peft trains a norm's own parameters, and this one has no bias: {adapter.path(p)}" for p in shifted]


def _norm_config(adapter: Opened) -> dict[str, Any]:
    return {"peft_type": "LN_TUNING"}


def _norm_tensors(adapter: Opened, trained: Mapping[str, Tensors]) -> dict[str, Array]:
    # Ours is s * h + t on the norm's output g * n + b; peft's is the norm's own parameters: s * g and s * b + t.
    names = {p: ["weight", *(["bias"] if adapter.has_bias(p) else [])] for p in adapter.placements}
    wanted = [f"{adapter.site(p)}.{name}" for p, own in names.items() for name in own]
    base = {path: tensor.numpy() for path, tensor in read_parameters(adapter.address, wanted).items()}
    tensors = {}
    for p, own in names.items():
        scale, shift = trained[p.key]["scale"], trained[p.key].get("shift", np.float32(0))
        for name in own:
            value = scale * base[f"{adapter.site(p)}.{name}"] + (shift if name == "bias" else 0)
            tensors[f"{adapter.path(p)}.ln_tuning_layers.{name}"] = value
    return tensors


def _gates(adapter: Opened) -> list[str]:
    gated = [p for p in adapter.placements if full_options(p)["gate"]]
    return [f"peft's LoRA has no gates: {adapter.path(p)}" for p in gated]


def _untrainable_norms(adapter: Opened) -> list[str]:
    frozen = [p for p in adapter.placements if adapter.has_bias(p) and not full_options(p)["bias"]]
    remedy = "peft would train this norm's bias too, which the recipe leaves as it is; export trained weights instead"
    return [f"{remedy}: {adapter.path(p)}" for p in frozen]


_FORMS = {
    "lora": _Form(_gates, _lora_config, _lora_tensors),
    "ia3": _Form(_ia3_losses, _ia3_config, _ia3_tensors),
    "layer_norm": _Form(_norm_losses, _norm_config, _norm_tensors),
}
_REASONS = {
    "serial_adapter": "peft has no bottleneck adapters",
    "parallel_adapter": "peft has no bottleneck adapters",
    "low_rank_adapter": "peft has no bottleneck adapters",
    "bitfit": "peft trains biases beside LoRA alone, and only where the base model has them",
    "prefix": "peft's prefix tuning has one length for all layers and needs a model with a key-value cache",
}


def peft_obstacles(opened: Opened) -> tuple[str, ...]:
    """Return why peft cannot compute the architecture, a reason each; empty where it can."""
    types = opened.recipe.architecture.module_types
    if not types:
        return ("there is no module to hold: only the task head is trained",)
    mixed = f"peft holds one method per adapter; this mixes {' and '.join(types)}"
    strange = [f"{name}: {_REASONS.get(name, 'peft has no such method')}" for name in types if name not in _FORMS]
    if strange or len(types) > 1:
        return (*([mixed] if len(types) > 1 else []), *strange)
    return tuple(_FORMS[types[0]].losses(opened))


def lora_config(opened: Opened) -> dict[str, Any]:
    """Return peft's keys of a LoRA that :func:`peft_obstacles` has nothing against."""
    return {**_targets(opened), **_lora_config(opened)}


def _fit(opened: Opened) -> Fit:
    obstacles = peft_obstacles(opened)
    if not obstacles and opened.weights is None and opened.recipe.architecture.module_types == ("layer_norm",):
        obstacles = tuple(_untrainable_norms(opened))
    return Fit(obstacles)


def _files(opened: Opened) -> dict[str, bytes]:
    form = _FORMS[opened.recipe.architecture.module_types[0]]
    config = {**_common(opened), **form.config(opened), "inference_mode": opened.weights is not None}
    files = {CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()}
    if opened.weights is not None:
        files[WEIGHTS] = _tensors(opened, form, opened.weights)
    return files


def _common(adapter: Opened) -> dict[str, Any]:
    model = adapter.recipe.base_model
    return {
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": adapter.location,
        "revision": model.hash if model.location == "hub" else None,
        "auto_mapping": None,
        "peft_version": adapter.recipe.versions.get("peft"),
        **_targets(adapter),
    }


def _targets(adapter: Opened) -> dict[str, Any]:
    return {
        "target_modules": list(dict.fromkeys(adapter.path(p) for p in adapter.placements)),
        "modules_to_save": adapter.head,
    }


def _tensors(adapter: Opened, form: _Form, weights: Path) -> bytes:
    state = _read_weights(adapter, weights)
    trained: dict[str, dict[str, Array]] = {p.key: {} for p in adapter.placements}
    tensors = {}
    for name, tensor in state.items():
        if name.startswith(HEAD):
            tensors[name.removeprefix(HEAD)] = tensor
        else:
            key, _, own = name.removeprefix(MODULES).rpartition(".")
            trained[key][own] = tensor
    tensors |= form.tensors(adapter, trained)
    prefixed = {f"base_model.model.{name}": np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save(prefixed, metadata={"format": "pt"})


def _read_weights(adapter: Opened, weights: Path) -> dict[str, Array]:
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise InvalidInput(Problem("weights", str(weights), f"not a safetensors file: {error}")) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in adapter.attachment.state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items()}
    if wanted != found:
        other = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        remedy = f"trained tensors of another architecture or task; {len(other)} differ, as {', '.join(other[:3])}"
        raise InvalidInput(Problem("weights", str(weights), remedy))
    return state


EXPORTER = Exporter(
    summary="adapter_config.json and weights for Hugging Face peft; LoRA, (IA)^3 or LayerNorm tuning alone",
    tool="peft 0.21",
    usage=USAGE,
    fit=_fit,
    files=_files,
)
