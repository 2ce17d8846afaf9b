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
from autopeft.base_models import describe_model, empty_model, find_model, read_parameters
from autopeft.errors import InvalidInput, LossyExport, Problem
from autopeft.exporters.base import Exporter
from autopeft.modules.attach import HEAD, MODULES, Attachment
from autopeft.modules.plan import full_options
from autopeft.recipe import Recipe
from autopeft.storage import write_atomically

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]


@dataclass(frozen=True)
class _Adapter:
    """The recipe's architecture as modules of its base model, none of them with weights."""

    recipe: Recipe
    attachment: Attachment

    @property
    def placements(self) -> tuple[Placement, ...]:
        return self.attachment.architecture.placements

    @property
    def address(self) -> str:
        return self.recipe.base_model.address

    def site(self, placement: Placement) -> str:
        """Return the path of the placement's module in the base model."""
        return self.attachment.geometry.site(placement.site, placement.layer).exit

    def path(self, placement: Placement) -> str:
        """Return the path of the placement's module in the model with its head, which is what peft names it by."""
        return f"{self.attachment.model.base_model_prefix}.{self.site(placement)}"

    def has_bias(self, placement: Placement) -> bool:
        """Whether the base model's module has a bias of its own."""
        module = self.attachment.model.get_submodule(self.path(placement))
        return getattr(module, "bias", None) is not None

    @property
    def transposed(self) -> bool:
        """Whether the base model's linears are transformers' ``Conv1D``, as GPT-2's are."""
        model = self.attachment.model
        return any(type(model.get_submodule(self.path(p))).__name__ == "Conv1D" for p in self.placements)


@dataclass(frozen=True)
class _Form:
    """How peft holds one module type.

    Attributes:
        losses: reasons why it cannot hold some placements of that type.
        config: the method's keys of ``adapter_config.json``.
        tensors: from our tensors of every placement to peft's, by their paths in the model.
    """

    losses: Callable[[_Adapter], list[str]]
    config: Callable[[_Adapter], dict[str, Any]]
    tensors: Callable[[_Adapter, Mapping[str, Tensors]], dict[str, Array]]


def _lora_config(adapter: _Adapter) -> dict[str, Any]:
    ranks = {adapter.path(p): p.size for p in adapter.placements}
    alphas = {adapter.path(p): _alpha(p) for p in adapter.placements}
    rank, alpha = _most_common(ranks), _most_common(alphas)
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "rank_pattern": {path: r for path, r in ranks.items() if r != rank},
        "alpha_pattern": {path: a for path, a in alphas.items() if a != alpha},
        "fan_in_fan_out": adapter.transposed,
        "init_lora_weights": True,
    }


def _alpha(placement: Placement) -> float | int:
    alpha = float(full_options(placement)["alpha"]) or 2.0 * placement.size
    return int(alpha) if alpha.is_integer() else alpha


def _most_common(values: Mapping[str, Any]) -> Any:
    return Counter(values.values()).most_common(1)[0][0]


def _lora_tensors(adapter: _Adapter, trained: Mapping[str, Tensors]) -> dict[str, Array]:
    tensors = {}
    for p in adapter.placements:
        tensors[f"{adapter.path(p)}.lora_A.weight"] = trained[p.key]["a"]
        tensors[f"{adapter.path(p)}.lora_B.weight"] = trained[p.key]["b"]
    return tensors


def _ia3_losses(adapter: _Adapter) -> list[str]:
    twice = [path for path, n in Counter(adapter.path(p) for p in adapter.placements).items() if n > 1]
    return [f"peft's (IA)^3 scales the input or the output of a linear, not both: {path}" for path in twice]


def _ia3_config(adapter: _Adapter) -> dict[str, Any]:
    return {
        "peft_type": "IA3",
        "feedforward_modules": [adapter.path(p) for p in adapter.placements if _scales_input(p)],
        "fan_in_fan_out": adapter.transposed,
        "init_ia3_weights": True,
    }


def _ia3_tensors(adapter: _Adapter, trained: Mapping[str, Tensors]) -> dict[str, Array]:
    return {
        f"{adapter.path(p)}.ia3_l": trained[p.key]["scale"].reshape((1, -1) if _scales_input(p) else (-1, 1))
        for p in adapter.placements
    }


def _scales_input(placement: Placement) -> bool:
    return placement.site == "ffn.hidden"


def _norm_losses(adapter: _Adapter) -> list[str]:
    shifted = [p for p in adapter.placements if full_options(p)["bias"] and not adapter.has_bias(p)]
    return [f"peft trains a norm's own parameters, and this one has no bias: {adapter.path(p)}" for p in shifted]


def _norm_config(adapter: _Adapter) -> dict[str, Any]:
    return {"peft_type": "LN_TUNING"}


def _norm_tensors(adapter: _Adapter, trained: Mapping[str, Tensors]) -> dict[str, Array]:
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


def _gates(adapter: _Adapter) -> list[str]:
    gated = [p for p in adapter.placements if full_options(p)["gate"]]
    return [f"peft's LoRA has no gates: {adapter.path(p)}" for p in gated]


def _untrainable_norms(adapter: _Adapter) -> list[str]:
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


def _losses(recipe: Recipe) -> tuple[str, ...]:
    types = recipe.architecture.module_types
    if not types:
        return ("there is no module to hold: only the task head is trained",)
    mixed = f"peft holds one method per adapter; this mixes {' and '.join(types)}"
    strange = [f"{name}: {_REASONS.get(name, 'peft has no such method')}" for name in types if name not in _FORMS]
    if strange or len(types) > 1:
        return (*([mixed] if len(types) > 1 else []), *strange)
    return tuple(_FORMS[types[0]].losses(_open(recipe)))


def _open(recipe: Recipe) -> _Adapter:
    base = describe_model(recipe.base_model.address)
    base.require(recipe.base_model.hash)
    model = empty_model(recipe.base_model.address, len(recipe.task.labels) or 1)
    return _Adapter(recipe, Attachment(model, recipe.architecture, base.geometry))


def _write(recipe: Recipe, weights: Path | None, out: Path) -> list[Path]:
    adapter = _open(recipe)
    form = _FORMS[recipe.architecture.module_types[0]]
    config = {**_common(adapter), **form.config(adapter), "inference_mode": weights is not None}
    files: dict[str, bytes] = {}
    if weights is not None:
        files[WEIGHTS] = _tensors(adapter, form, weights)
    elif config["peft_type"] == "LN_TUNING" and (reasons := _untrainable_norms(adapter)):
        raise LossyExport("peft", reasons)
    files[CONFIG] = (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
    for name, content in files.items():
        write_atomically(out / name, content)
    return [out / name for name in sorted(files)]


def _common(adapter: _Adapter) -> dict[str, Any]:
    model = adapter.recipe.base_model
    return {
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": find_model(adapter.address).location,
        "revision": model.hash if model.location == "hub" else None,
        "auto_mapping": None,
        "peft_version": adapter.recipe.versions.get("peft"),
        "target_modules": list(dict.fromkeys(adapter.path(p) for p in adapter.placements)),
        "modules_to_save": sorted({name.partition(".")[0] for name in adapter.attachment.head}),
    }


def _tensors(adapter: _Adapter, form: _Form, weights: Path) -> bytes:
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


def _read_weights(adapter: _Adapter, weights: Path) -> dict[str, Array]:
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
    losses=_losses,
    write=_write,
)
