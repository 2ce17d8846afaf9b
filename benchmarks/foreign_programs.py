"""The programs that ``foreign_loaders.py`` runs, one for each tool, in the tool's own environment.

Those of ``KEYS`` print the keys that a tool knows as JSON, by kind of configuration. Each of ``PROGRAMS`` is given the
path of ``cases.json`` (the base model's folder, and for every case its file and what that should mean), reads every
file as the tool does, and prints a line for every disagreement.
"""

_LORA = """
import json, sys
import yaml
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

told = json.load(open(sys.argv[1]))

def same(case, key, found, wanted):
    if found != wanted:
        print(case["file"], key, found, "is not", wanted)

def compare_modules(case, make_config):
    model = AutoModelForCausalLM.from_pretrained(told["base"])
    adapted = get_peft_model(model, make_config(model))
    found = {
        name.removeprefix("base_model.model."): [layer.r["default"], layer.r["default"] * layer.scaling["default"]]
        for name, layer in adapted.named_modules() if isinstance(layer, LoraLayer)
    }
    found = {name: [rank, round(alpha, 6)] for name, (rank, alpha) in found.items()}
    same(case, "modules", found, case["modules"])
    widths = {name: sum(model.get_submodule(name).base_layer.weight.shape) for name in case["modules"]}
    wanted = sum(widths[name] * rank for name, (rank, _) in case["modules"].items())
    same(case, "trainable", sum(p.numel() for p in adapted.parameters() if p.requires_grad), wanted)
"""

_TRL = (
    _LORA
    + """
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser, get_peft_config

for case in told["cases"]:
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    parsed = parser.parse_args_and_config(["--config", case["file"]], fail_with_unknown_args=True)
    for key, value in yaml.safe_load(open(case["file"])).items():
        (owner,) = [part for part in parsed if hasattr(part, key)]
        found = getattr(owner, key)
        if key == "datasets":
            found = [{name: getattr(one, name) for name in value[0]} for one in found]
        if key == "lora_target_modules" and isinstance(found, str):
            found = [found]  # one name is read as a pattern
        same(case, key, found, value)
    compare_modules(case, lambda model: get_peft_config(parsed[2]))
"""
)

_LLAMA_FACTORY = (
    _LORA
    + """
import llamafactory, types
from llamafactory.hparams.parser import _parse_train_args
from pathlib import Path
from peft import LoraConfig

# The package around this parser wants what reads pictures and sounds.
sys.modules["llamafactory.data"] = types.ModuleType("llamafactory.data")
sys.modules["llamafactory.data"].__path__ = [llamafactory.__path__[0] + "/data"]
from llamafactory.data.parser import get_dataset_list

for case in told["cases"]:
    document = yaml.safe_load(open(case["file"]))
    parsed = _parse_train_args(dict(document))
    lora = parsed[3]
    for key, value in document.items():
        owner = next(part for part in parsed if hasattr(part, key))
        found = getattr(owner, key)
        if key in ("lora_target", "dataset"):
            value = value.split(",")
        same(case, key, getattr(found, "value", found), value)
    (rows,) = get_dataset_list(["rows"], str(Path(case["file"]).parent))
    same(case, "columns", [rows.dataset_name, rows.prompt, rows.response], ["rows.jsonl", "prompt", "completion"])
    compare_modules(case, lambda model: LoraConfig(
        task_type="CAUSAL_LM", r=lora.lora_rank, target_modules=lora.lora_target, lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout, use_rslora=lora.use_rslora, use_dora=lora.use_dora,
        modules_to_save=lora.additional_target,
    ))
"""
)

_AXOLOTL = (
    _LORA
    + """
import os
os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
from axolotl.loaders.adapter import _build_peft_lora_config
from axolotl.utils.config import validate_config
from axolotl.utils.dict import DictDefault
from axolotl.utils.schemas.config import AxolotlInputConfig

for case in told["cases"]:
    document = yaml.safe_load(open(case["file"]))
    for key in document.keys() - AxolotlInputConfig.model_fields.keys():
        same(case, key, "no key", "known")
    read = validate_config(DictDefault(document))
    for key, value in document.items():
        found = read[key]
        if key == "datasets":
            found = [{name: one[name] for name in value[0]} for one in found]
        same(case, key, found, value)
    compare_modules(case, lambda model: _build_peft_lora_config(model, read))
"""
)

_ADAPTERS = """
import json, sys
import torch
from adapters import AutoAdapterModel
from safetensors.torch import load_file

told = json.load(open(sys.argv[1]))
LORAS = {"attention-query": "attention.self.query", "attention-key": "attention.self.key",
         "attention-value": "attention.self.value", "ffn-in": "intermediate.dense", "ffn-out": "output.dense"}

def put(model, tensors):
    layers, prefixes = model.base_model.encoder.layer, {}
    for name, tensor in tensors.items():
        if not name.startswith("modules."):
            continue
        key, _, own = name.removeprefix("modules.").partition(".")
        layer, site, module = key.split(":")
        layer = layers[int(layer)]
        if module == "prefix":
            prefixes.setdefault(key, {})[own] = tensor
        elif module == "lora":
            lora = layer.get_submodule(LORAS[site]).loras["x"]
            {"a": lora.lora_A, "b": lora.lora_B}[own].data.copy_(tensor)
        else:
            adapter = (layer.attention.output if site == "attention" else layer.output).adapters["x"]
            _, part, kind = own.split(".")
            linear = adapter.adapter_down[0] if part == "down" else adapter.adapter_up
            getattr(linear, kind).data.copy_(tensor)
    if prefixes:
        flat = model.base_model.prefix_tuning.prefix_tunings["x"]["self_prefix"].control_trans
        ordered = [part[own] for _, part in sorted(prefixes.items()) for own in ("keys", "values")]
        flat.data.copy_(torch.stack(ordered, 1).flatten())

for case in told["cases"]:
    model = AutoAdapterModel.from_pretrained(told["base"])
    model.add_adapter("x", config=case["file"])
    model.train_adapter("x")
    found = sum(p.numel() for p in model.base_model.parameters() if p.requires_grad)
    if found != case["params"]:
        print(case["file"], "trains", found, "parameters, not", case["params"])
        continue
    tensors = load_file(case["tensors"])
    with torch.no_grad():
        put(model, tensors)
        hidden = model.eval().base_model(input_ids=tensors["ids"]).last_hidden_state
    off = (hidden - tensors["hidden"]).abs().max().item()
    if not off < 1e-4:
        print(case["file"], "gives hidden states that are off by", off)
"""

PROGRAMS = {"trl": _TRL, "llama-factory": _LLAMA_FACTORY, "axolotl": _AXOLOTL, "adapters": _ADAPTERS}

_FIELDS = """
import json
from dataclasses import fields

def print_keys(**kinds):
    named = {kind: {f.name for one in classes for f in fields(one)} for kind, classes in kinds.items()}
    print(json.dumps({kind: sorted(names) for kind, names in named.items()}))
"""

KEYS = {
    "trl": _FIELDS
    + """
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig
print_keys(yaml=[DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig])
""",
    "llama-factory": _FIELDS
    + """
from llamafactory.hparams.parser import _TRAIN_ARGS
print_keys(yaml=_TRAIN_ARGS)
""",
    "axolotl": """
import json
from axolotl.utils.schemas.config import AxolotlInputConfig
print(json.dumps({"yaml": sorted(AxolotlInputConfig.model_fields)}))
""",
    "adapters": _FIELDS
    + """
from adapters import BnConfig, LoRAConfig, PrefixTuningConfig
print_keys(bottleneck=[BnConfig], lora=[LoRAConfig], prefix_tuning=[PrefixTuningConfig])
""",
}
