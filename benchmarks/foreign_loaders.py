"""Reads exported files with the tools that they are for, each in a virtual environment of its own.

    python benchmarks/foreign_loaders.py CACHE [TOOL ...] [--architectures 20]
    python benchmarks/foreign_loaders.py CACHE --keys tests/exporters/known_keys.json

CACHE is a folder for the environments, which are made where they are missing (about 1 GB each), and for the exported
files. A tool's program gets the files and what they should mean; it runs with nothing of AutoPEFT and prints a line
for every disagreement. The exit code is 1 where there is any. ``--keys`` writes the keys that each tool knows, which
the tests hold the exported files to.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from foreign_programs import KEYS, PROGRAMS
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model
from autopeft.exporters import EXPORTERS, Opened, export
from autopeft.exporters.opened import alpha, most_common
from autopeft.messages import TaskSpec
from autopeft.modules.attach import Attachment
from autopeft.modules.count import count_parameters
from autopeft.recipe import Recipe
from autopeft.space import load_space
from autopeft.tasks import load_task

# What each tool's configuration needs to be read. Those with many requirements are installed without them, and with
# the few that their argument parsers and model loaders import, at the versions that they pin.
NEEDED: dict[str, tuple[list[str], list[str]]] = {
    "trl": ([], ["trl==1.16.0", "torch==2.13.0", "peft==0.21.2", "pyyaml"]),
    "adapters": ([], ["adapters==1.3.0", "torch==2.13.0", "numpy"]),
    "llama-factory": (
        ["llamafactory==0.9.5"],
        [
            *("torch==2.13.0", "transformers==5.6.0", "peft==0.18.1", "trl==0.24.0", "accelerate==1.11.0"),
            *("datasets==4.0.0", "omegaconf", "numpy", "pyyaml"),
        ],
    ),
    "axolotl": (
        ["axolotl==0.19.0"],
        [
            *("torch==2.13.0", "transformers==5.16.1", "peft==0.20.0", "trl==1.9.0", "accelerate==1.13.0"),
            *("datasets==4.8.4", "pydantic==2.12.5", "bitsandbytes==0.50.2", "pillow", "addict", "pyyaml"),
            *("einops", "colorama", "python-dotenv", "scipy", "posthog==6.7.11"),
        ],
    ),
}
LLAMA = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BERT = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
ROWS = 120
LINEARS = [f"attention.{site}" for site in ("query", "key", "value", "output")] + ["ffn.in", "ffn.gate", "ffn.out"]


@dataclass(frozen=True)
class Case:
    """One exported recipe, and what its file should mean to the tool."""

    recipe: Recipe
    expected: dict[str, Any]


def environment(tool: str, cache: Path) -> Path:
    """Return the interpreter of the tool's environment, making it where it is missing."""
    folder = cache / tool
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"{tool}: making its environment", file=sys.stderr)
        venv.create(folder, with_pip=True)
        alone, with_requirements = NEEDED[tool]
        for options, packages in ((["--no-deps"], alone), ([], with_requirements)):
            if packages:
                subprocess.run([python, "-m", "pip", "install", "-q", *options, *packages], check=True)
        (folder / "complete").touch()
    return python


def make_recipe(model: str, architecture: Architecture, data: Path) -> Recipe:
    """Return a recipe that nothing was trained for."""
    base, task = describe_model(model), load_task(TaskSpec(name=str(data)))
    rows = {part: len(getattr(task, part)) for part in ("train", "holdout", "validation", "test")}
    made_up = {"metric": task.metric, "mean": 0.5, "std": None, "seeds": 1, "confirmed": False, "split": "holdout"}
    search = {"id": "s", "name": "made-up", "trial": 0, "space": "lora", "sampler": "random", "budget": "1"}
    return Recipe.model_validate(
        {
            "schema": Recipe.model_fields["schema_version"].annotation.__args__[0],  # type: ignore[union-attr]
            "name": "made-up",
            "created": "2026-11-21T00:00:00Z",
            "base_model": {
                "name": model,
                "location": "folder",
                "revision": None,
                "hash": base.fingerprint,
                "parameters": base.parameters,
            },
            "task": {
                "name": str(data),
                "metric": task.metric,
                "hash": task.fingerprint,
                "kind": task.kind,
                "labels": task.labels,
                "rows": rows,
            },
            "architecture": architecture,
            "training": {"precision": "float32", "fidelity": {}, "settings": {}},
            "seeds": [0],
            "scores": made_up,
            "baselines": [],
            "counts": {"params": 0, "params_percent": 0.0},
            "search": search,
            "versions": {},
        }
    )


def lora_cases(tool: str, model: str, data: Path, number: int) -> Iterator[Case]:
    """Yield points of the space ``lora`` and, for every second one, a LoRA with ranks of its own everywhere."""
    base, chance = describe_model(model), random.Random(0)
    space = load_space("lora", base.geometry, base.parameters)
    for i in range(number):
        architecture = uneven_lora(base.geometry.layers, chance) if i % 2 else space.sample(chance)[1]
        architecture = architecture.with_quantisation(("none", "none", "nf4", "int8")[i % 4])
        recipe = make_recipe(model, architecture, data)
        opened = Opened(recipe)
        forms = {opened.path(p): [p.size, max(1, round(alpha(p)))] for p in opened.placements}
        if tool != "axolotl":  # which alone has ranks for single modules
            common = [most_common(form[i] for form in forms.values()) for i in (0, 1)]
            forms = dict.fromkeys(forms, common)
        yield Case(recipe, {"modules": forms})


def uneven_lora(layers: int, chance: random.Random) -> Architecture:
    """Return LoRAs at some linears of some layers, each of a rank and an alpha of its own."""
    places = [(site, layer) for site in LINEARS for layer in range(layers)]
    return Architecture(
        tuple(
            Placement("lora", site, layer, chance.randint(1, 9), (("alpha", float(chance.choice([4, 16, 3]))),))
            for site, layer in chance.sample(places, chance.randint(1, 40))
        )
    )


def adapter_cases(model: str, data: Path, number: int, folder: Path) -> Iterator[Case]:
    """Yield architectures that adapters holds, with trained tensors and what the model gives with them."""
    base, chance = describe_model(model), random.Random(0)
    for i in range(number):
        architecture = union(base.geometry.layers, chance)
        tensors = folder / f"{i}.safetensors"
        save_file(compute(model, architecture, seed=i), tensors)
        params = count_parameters(architecture, base.geometry)
        yield Case(make_recipe(model, architecture, data), {"params": params, "tensors": str(tensors)})


def union(layers: int, chance: random.Random) -> Architecture:
    """Return bottlenecks, LoRAs and prefixes that adapters can hold together; at least one of them."""
    placements = []
    length, rank, kinds = (
        chance.randint(1, 9),
        chance.randint(1, 8),
        chance.sample(["bottleneck", "prefix", "lora"], chance.randint(1, 3)),
    )
    sites = chance.sample(["attention.query", "attention.key", "attention.value", "ffn.in", "ffn.out"], 2)
    for layer in sorted(chance.sample(range(layers), chance.randint(1, layers))):
        if "bottleneck" in kinds:
            module = chance.choice(["serial_adapter", "parallel_adapter"])
            options = (("scale", 2.0),) if module == "parallel_adapter" else ()
            site = chance.choice(["attention", "ffn"])
            placements.append(Placement(module, site, layer, chance.randint(1, 48), options))
        if "prefix" in kinds:
            placements.append(Placement("prefix", "attention.kv", layer, length))
        if "lora" in kinds:
            placements += [Placement("lora", site, layer, rank) for site in sites]
    return Architecture(tuple(placements))


def compute(model: str, architecture: Architecture, seed: int) -> dict[str, torch.Tensor]:
    """Return chance tensors of the modules, token ids, and the hidden states that come of them."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, BERT["vocab_size"], (3, 9), generator=chance)
    classifier = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    with Attachment(classifier, architecture, describe_model(model).geometry) as attachment, torch.no_grad():
        for parameter in attachment.modules.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=chance))
        hidden = classifier.base_model(input_ids=ids).last_hidden_state
        return {**attachment.state_dict(), "ids": ids, "hidden": hidden.contiguous()}


def check(tool: str, cache: Path, number: int) -> bool:
    """Export, let the tool read it, and print what came of it; return whether all agree."""
    folder = cache / "exported" / tool
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "rows.csv"
    data.write_text("text,label\n" + "".join(f"row {i},{'abc'[i % 3]}\n" for i in range(ROWS)))
    base = folder / "base"
    if tool == "adapters":
        config = AutoConfig.for_model("bert", **BERT)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(base)
        cases = adapter_cases(str(base), data, number, folder)
    else:
        AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **LLAMA)).save_pretrained(base)
        cases = lora_cases(tool, str(base), data, number)
    listed = []
    for i, case in enumerate(cases):
        files = export(case.recipe, tool, None, folder / str(i), allow_lossy=True)
        listed.append({"file": str(max(files, key=lambda file: file.suffix == ".yaml")), **case.expected})
    (folder / "cases.json").write_text(json.dumps({"base": str(base), "cases": listed}))
    program = [environment(tool, cache), "-c", PROGRAMS[tool], folder / "cases.json"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=folder)
    problems = done.stdout.splitlines() if done.returncode == 0 else [done.stderr[-3000:]]
    print(f"{EXPORTERS.get(tool).tool}: {number} files, {len(problems)} disagreements", *problems, sep="\n  ")
    return not problems


def known_keys(cache: Path) -> dict[str, dict[str, list[str]]]:
    """Return the keys that every tool knows, by its name and version and by kind of configuration."""
    keys = {}
    for tool, program in KEYS.items():
        run = subprocess.run([environment(tool, cache), "-c", program], capture_output=True, text=True, check=True)
        keys[EXPORTERS.get(tool).tool] = json.loads(run.stdout.splitlines()[-1])
    return keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("cache", type=Path)
    parser.add_argument("tools", nargs="*", default=list(NEEDED), metavar="TOOL", help=", ".join(NEEDED))
    parser.add_argument("--architectures", type=int, default=20)
    parser.add_argument("--keys", type=Path, metavar="FILE")
    options = parser.parse_args()
    logging.disable_progress_bar()
    if options.keys:
        options.keys.write_text(json.dumps(known_keys(options.cache.resolve()), indent=1) + "\n")
        return
    agreed = [check(tool, options.cache.resolve(), options.architectures) for tool in options.tools]
    sys.exit(not all(agreed))


if __name__ == "__main__":
    main()
