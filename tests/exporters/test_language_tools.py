"""What is written for axolotl, LLaMA-Factory and TRL: keys that they know, and the recipe's own values.

``benchmarks/foreign_loaders.py`` lets the tools themselves read such files, and wrote ``known_keys.json``.
"""

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from autopeft.architecture import Architecture, Placement
from autopeft.errors import LossyExport
from autopeft.exporters import EXPORTERS, Opened, export, fits
from autopeft.messages import TaskSpec

KNOWN = json.loads(Path(__file__).with_name("known_keys.json").read_text())
TOOLS = ("axolotl", "llama-factory", "trl")
SINGLE = ("llama-factory", "trl")
PATHS = ["model.layers.0.self_attn.q_proj", "model.layers.2.self_attn.q_proj", "model.layers.2.mlp.down_proj"]
SHARED = {
    "learning_rate": 0.002,
    "weight_decay": 0.01,
    "max_grad_norm": 0.5,
    "seed": 5,
    "warmup_steps": 3,
    "output_dir": "trained",
}


@pytest.fixture(scope="module")
def tiny_llama(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    AutoModelForCausalLM.from_config(tiny_config("llama", num_hidden_layers=3)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def task(tmp_path):
    (tmp_path / "task.csv").write_text("text,label\n" + "".join(f"row {i},{'abc'[i % 3]}\n" for i in range(90)))
    return TaskSpec(name=str(tmp_path / "task.csv"), max_length=40)


def lora(*sizes_and_alphas, quantisation="none"):
    places = [("attention.query", 0), ("attention.query", 2), ("ffn.out", 2)]
    return Architecture(
        tuple(
            Placement("lora", site, layer, size, (("alpha", alpha),))
            for (site, layer), (size, alpha) in zip(places, sizes_and_alphas, strict=False)
        ),
        quantisation=quantisation,
    )


EVEN = lora((4, 2.0), (4, 2.0), (4, 2.0))
UNEVEN = lora((4, 2.0), (8, 16.0), (4, 2.0))


@pytest.fixture
def recipe_of(tiny_llama, task, make_recipe):
    settings = {"batch_size": 4, "learning_rate": 2e-3, "weight_decay": 0.01, "gradient_clip": 0.5, "warmup": 0.2}

    def make(architecture, model=tiny_llama, **changes):
        return make_recipe(model, task, architecture, {"rows": 30, "epochs": 2}, settings | changes, seeds=[5, 6])

    return make


def written(recipe, tool, out):
    export(recipe, tool, None, out, allow_lossy=True)
    text = (out / f"{tool}.yaml").read_text()
    return text, yaml.safe_load(text)


@pytest.mark.parametrize("quantisation", ["none", "int8", "nf4"])
@pytest.mark.parametrize("tool", TOOLS)
def test_every_key_is_one_that_the_tool_knows(tool, quantisation, recipe_of, tmp_path):
    text, document = written(recipe_of(lora((4, 2.0), (8, 3.0), quantisation=quantisation)), tool, tmp_path / "out")
    version = EXPORTERS.get(tool).tool
    assert version in text.splitlines()[0]
    assert set(document) <= set(KNOWN[version]["yaml"])
    assert any("bit" in key for key in document) == (quantisation != "none")


@pytest.mark.parametrize("tool", TOOLS)
def test_the_values_are_the_recipes(tool, recipe_of, tiny_llama, tmp_path):
    _, document = written(recipe_of(EVEN), tool, tmp_path / "out")
    assert {key: document[key] for key in SHARED} == SHARED  # 30 rows by 4, twice, are 16 steps
    targets = document.get("lora_target_modules") or document["lora_target"].split(",")
    assert sorted(targets) == sorted(PATHS)
    assert tiny_llama in (document.get("base_model"), document.get("model_name_or_path"))
    assert 40 in (document.get("sequence_len"), document.get("cutoff_len"), document.get("max_length"))
    assert 4 in (document.get("micro_batch_size"), document.get("per_device_train_batch_size"))
    assert 2.0 in (document.get("num_epochs"), document.get("num_train_epochs"))
    assert document["lora_alpha"] == 2
    assert 4 in (document.get("lora_r"), document.get("lora_rank"))


def test_axolotl_has_ranks_and_alphas_for_single_modules(recipe_of, tmp_path):
    _, document = written(recipe_of(UNEVEN), "axolotl", tmp_path / "out")
    assert (document["lora_r"], document["lora_rank_pattern"]) == (4, {PATHS[1]: 8})
    assert (document["lora_alpha"], document["lora_alpha_pattern"]) == (2, {PATHS[1]: 16})


@pytest.mark.parametrize("tool", SINGLE)
def test_tools_of_one_rank_say_where_another_one_is_lost(tool, recipe_of, tmp_path):
    fit = EXPORTERS.get(tool).fit(Opened(recipe_of(UNEVEN)))
    assert any("one rank for all modules: 4, also for " + PATHS[1] + " (8)" in loss for loss in fit.losses)
    assert any("one alpha for all modules: 2, also for " + PATHS[1] + " (16)" in loss for loss in fit.losses)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_task_head_is_a_loss_everywhere_and_each_loss_is_in_the_file(tool, recipe_of, tmp_path):
    recipe = recipe_of(lora((4, 2.5), (2, 2.0), (4, 2.5)), learning_rate=None)
    with pytest.raises(LossyExport, match="has no task head") as caught:
        export(recipe, tool, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    text, document = written(recipe, tool, tmp_path / "out")
    comments = {line.removeprefix("# - ") for line in text.splitlines() if line.startswith("# - ")}
    assert comments == set(caught.value.losses)
    assert any("one learning rate for all modules" in loss for loss in comments)
    assert any("whole numbers as alpha" in loss and "(2.5)" in loss for loss in comments)
    assert isinstance(document["lora_alpha"], int)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_no_language_tool_trains_is_an_obstacle(tool, recipe_of, task):
    for architecture, model, reason in (
        (EVEN, "minilm", "trains causal language models; minilm \\(bert\\) is none"),
        (Architecture((Placement("ia3", "attention.key", 1),)), None, "trains LoRA; this is ia3"),
        (Architecture((Placement("prefix", "attention.kv", 1, 3),)), None, "one length for all layers"),
        (Architecture(), None, "only the task head is trained"),
    ):
        recipe = recipe_of(architecture, model) if model else recipe_of(architecture)
        with pytest.raises(LossyExport, match=reason):
            export(recipe, tool, None, Path("never"), allow_lossy=True)


def test_llama_factory_finds_its_rows_by_a_file_beside_it(recipe_of, tmp_path):
    _, document = written(recipe_of(EVEN), "llama-factory", tmp_path / "out")
    listed = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert document["dataset_dir"] == "."
    assert listed[document["dataset"]]["file_name"] == "rows.jsonl"


def test_nothing_but_a_name_of_the_recipe_reaches_the_comments(recipe_of, tmp_path):
    recipe = recipe_of(EVEN)
    search = recipe.search.model_copy(update={"name": "a\nlora_r: 99"})
    for tool in TOOLS:
        _, document = written(recipe.model_copy(update={"search": search}), tool, tmp_path / tool)
        assert 99 not in document.values()


def test_a_fit_is_told_for_every_format(recipe_of):
    found = fits(recipe_of(EVEN))
    assert tuple(found) == EXPORTERS.names
    assert {name for name, fit in found.items() if fit.writes(allow_lossy=False)} == {"recipe", "peft", "script"}
    assert {name for name, fit in found.items() if fit.writes(allow_lossy=True)} == set(found) - {"adapters"}
