"""Random points of the LoRA spaces, exported to peft and read back by stock peft: the same modules, and as many."""

import random

import pytest
from peft import PeftConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForSequenceClassification

from autopeft.base_models import describe_model, empty_model
from autopeft.exporters import export
from autopeft.messages import TaskSpec
from autopeft.modules.count import count_parameters
from autopeft.space import load_space

ARCHITECTURES = {"lora": 200, "qlora": 25, "s3delta_l": 25}  # of the spaces whose every point is LoRA


@pytest.fixture(scope="module")
def tiny_llama(tiny_config, tmp_path_factory):
    config = tiny_config("llama", hidden_size=64, intermediate_size=96, num_hidden_layers=12)
    folder = tmp_path_factory.mktemp("llama")
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "task.csv"
    path.write_text("text,label\n" + "".join(f"row {i},{'abc'[i % 3]}\n" for i in range(90)))
    return TaskSpec(name=str(path))


@pytest.mark.slow
@pytest.mark.parametrize("base", ["minilm", "llama"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stock_peft_reads_back_every_point_of_a_lora_space(name, base, tiny_llama, task, make_recipe, tmp_path):
    model_name = tiny_llama if base == "llama" else base
    described, chance = describe_model(model_name), random.Random(7)
    geometry = described.geometry
    space = load_space(name, geometry, described.parameters)
    model = empty_model(model_name, 3)
    head = sum(p.numel() for path, p in model.named_parameters() if not path.startswith(model.base_model_prefix))
    template = make_recipe(model_name, task, space.sample(chance)[1])
    for i in range(ARCHITECTURES[name]):
        architecture = space.sample(chance)[1]
        export(template.model_copy(update={"architecture": architecture}), "peft", None, tmp_path)
        adapted = get_peft_model(model, PeftConfig.from_pretrained(tmp_path))
        found = {
            path.removeprefix(f"base_model.model.{model.base_model_prefix}."): module.r["default"]
            for path, module in adapted.named_modules()
            if isinstance(module, LoraLayer)
        }
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        model = adapted.unload()
        model.requires_grad_(True)
        assert found == {geometry.site(p.site, p.layer).exit: p.size for p in architecture.placements}, i
        assert trained == count_parameters(architecture, geometry) + head, i
