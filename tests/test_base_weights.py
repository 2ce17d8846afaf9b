"""Base models whose files do not hold exactly what a classifier of this task has."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from autopeft.base_models import describe_model, load_model, load_tokenizer, read_parameters
from autopeft.errors import InvalidInput

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_model, tmp_path):
    tiny_model("bert").save_pretrained(tmp_path)
    return tmp_path


def test_a_head_of_another_task_is_no_obstacle(folder, tiny_model):
    model = load_model(str(folder), "classification", 5, CPU, torch.float32)
    assert model.classifier.out_features == 5
    wanted = tiny_model("bert").bert.encoder.layer[1].output.LayerNorm.weight
    path = "encoder.layer.1.output.LayerNorm.weight"
    assert torch.equal(read_parameters(str(folder), [path])[path], wanted)


def test_tensors_that_the_files_lack_are_the_same_at_every_load(folder):
    file = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "pooler" not in k}, file, metadata={"format": "pt"})
    state = torch.random.get_rng_state()
    poolers = [load_model(str(folder), "classification", 3, CPU, torch.float32).bert.pooler for _ in range(2)]
    assert torch.equal(poolers[0].dense.weight, poolers[1].dense.weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_config_that_does_not_fit_the_weights_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    with pytest.raises(InvalidInput, match=r"its config does not fit its weights: bert.encoder.layer.0.*\(48"):
        load_model(str(folder), "classification", 3, CPU, torch.float32)


def bring_code(folder, file, **named):
    """Let a file of the folder name classes of a program that is there too."""
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    config = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**config, **named}))


@pytest.fixture
def asked(monkeypatch):
    """What transformers asks on the terminal, which says yes to everything."""
    questions = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "y")
    return questions


def test_a_models_own_code_is_neither_run_nor_asked_for(folder, asked):
    bring_code(folder, "config.json", model_type="brand_new", auto_map={"AutoConfig": "own.Config"})
    for load in (describe_model, lambda name: load_model(name, "classification", 3, CPU, torch.float32)):
        with pytest.raises(InvalidInput, match=r"^model = .*code of its own, which is never run"):
            load(str(folder))
    assert not asked and not (folder / "ran").exists()


def test_a_tokenisers_own_code_is_neither_run_nor_asked_for(folder, asked):
    named = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    bring_code(folder, "tokenizer_config.json", **named)
    bring_code(folder, "config.json", model_type="vit")  # a family without a tokeniser of its own
    with pytest.raises(InvalidInput, match="^model = "):
        load_tokenizer(str(folder))
    assert not asked and not (folder / "ran").exists()


def test_code_beside_a_model_of_a_known_family_is_left_alone(folder, asked):
    named = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    bring_code(folder, "config.json", auto_map=named)
    assert load_model(str(folder), "classification", 5, CPU, torch.float32).classifier.out_features == 5
    assert not asked and not (folder / "ran").exists()
