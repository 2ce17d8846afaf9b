"""Merged models: stock transformers loads them, and they compute what the model with its modules computes."""

import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from autopeft.architecture import Architecture, Placement
from autopeft.errors import Conflict, InvalidInput, LossyExport, NotFound
from autopeft.merge import merge, require_mergeable
from autopeft.messages import TaskSpec
from autopeft.retrain import retrain
from autopeft.trained import TrainedModel
from tests.search.conftest import make_model, make_task

FOLDABLE = (
    Placement("lora", "attention.query", 0, 4),
    Placement("lora", "ffn.out", 1, 2),
    Placement("ia3", "ffn.hidden", 1),
    Placement("bitfit", "attention.value", 0),
    Placement("layer_norm", "norm.ffn", 1, 0, (("bias", True),)),
)
TEXTS = ["w1 w2 w40", "w50 w51 w52 w3 w4 w5 w6", "w7"]
# In a process that cannot import autopeft.
STOCK = """
import json, sys
sys.modules["autopeft"] = None
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
inputs = AutoTokenizer.from_pretrained(sys.argv[1])(json.loads(sys.argv[2]), padding=True, return_tensors="pt")
with torch.no_grad():
    print(json.dumps(model(**inputs).logits.tolist()))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return TaskSpec(name=str(make_task(tmp_path_factory.mktemp("task") / "rows.csv")))


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    draw, path = random.Random(0), tmp_path_factory.mktemp("prices") / "rows.csv"
    rows = [[draw.randrange(60) for _ in range(6)] for _ in range(200)]
    path.write_text("text,price\n" + "".join(f"{' '.join(f'w{i}' for i in r)},{5000 + 10 * sum(r)}\n" for r in rows))
    return TaskSpec(name=str(path), score="price", max_length=16)


@pytest.fixture(scope="module")
def trained(make_recipe, model, tmp_path_factory):
    """``trained(task, architecture)``: the folder of a tiny model trained so."""
    made = {}

    def train(task, placements=FOLDABLE, quantisation="none"):
        key = (task.name, placements, quantisation)
        if key not in made:
            architecture = Architecture(placements, training=(("learning_rate", 0.02),), quantisation=quantisation)
            recipe = make_recipe(model, task, architecture, {"rows": 128, "epochs": 2})
            made[key] = retrain(recipe, [0], tmp_path_factory.mktemp("trained") / "out").folder
        return made[key]

    return train


def stock(folder):
    """Return the model and the tokeniser as transformers alone loads them, and the logits."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits
    return model, tokenizer, logits.numpy()


def hooked(folder):
    """Return the logits of the model with its modules on it."""
    loaded = TrainedModel.load(folder, "cpu")
    return loaded._predictor.outputs(TEXTS, None, 8)


def test_stock_transformers_computes_the_same_with_the_labels_names(trained, classes, tmp_path):
    folder = trained(classes)
    merge(folder, tmp_path / "merged")
    model, tokenizer, logits = stock(tmp_path / "merged")
    np.testing.assert_allclose(logits, hooked(folder), atol=1e-4)
    assert model.config.id2label == {0: "high", 1: "low"} and model.config.label2id == {"high": 0, "low": 1}
    assert (model.dtype, tokenizer.model_max_length) == (torch.float32, 128)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged"]


def test_a_program_without_autopeft_loads_it(trained, classes, tmp_path):
    merge(trained(classes), tmp_path / "merged")
    command = [sys.executable, "-c", STOCK, str(tmp_path / "merged"), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), hooked(trained(classes)), atol=1e-4)


def test_the_modules_are_in_what_was_merged(trained, classes):
    """What the other tests compare is not the base model alone."""
    loaded = TrainedModel.load(trained(classes), "cpu")
    with_modules = loaded._predictor.outputs(TEXTS, None, 8)
    for parameter in loaded._predictor.attachment.modules.parameters():
        torch.nn.init.zeros_(parameter)
    assert np.abs(loaded._predictor.outputs(TEXTS, None, 8) - with_modules).max() > 0.01


def test_a_merged_regression_answers_in_the_tasks_own_units(trained, prices, tmp_path):
    folder = trained(prices)
    merge(folder, tmp_path / "merged")
    _, tokenizer, logits = stock(tmp_path / "merged")
    scores = [prediction.score for prediction in TrainedModel.load(folder, "cpu").predict(TEXTS)]
    np.testing.assert_allclose(logits[:, 0], scores, rtol=1e-5)
    assert (logits > 5000).all() and tokenizer.model_max_length == 16


def test_a_base_in_four_bits_is_merged_as_training_saw_it(trained, classes, tmp_path):
    folder = trained(classes, FOLDABLE, "nf4")
    merge(folder, tmp_path / "merged")
    model, _, logits = stock(tmp_path / "merged")
    np.testing.assert_allclose(logits, hooked(folder), atol=1e-4)
    assert type(model.bert.encoder.layer[0].attention.self.query) is torch.nn.Linear


def test_a_base_in_eight_bits_is_refused_with_the_reason(trained, classes, tmp_path):
    with pytest.raises(LossyExport, match="its int8 base rounds what enters every layer"):
        merge(trained(classes, FOLDABLE, "int8"), tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_placement_that_cannot_be_folded_is_named(make_recipe, model, classes):
    placements = (
        Placement("serial_adapter", "ffn", 0, 2),
        Placement("serial_adapter", "ffn", 1, 2),
        Placement("prefix", "attention.kv", 1, 2),
        Placement("lora", "attention.key", 0, 2, (("gate", True),)),
        *FOLDABLE,
    )
    with pytest.raises(LossyExport) as caught:
        require_mergeable(make_recipe(model, classes, Architecture(placements)))
    assert caught.value.exit_code == 7
    assert caught.value.losses == (
        "lora at attention.key of layer 0: its gate is another for every token",
        "prefix at attention.kv of layer 1: what it computes is no part of a linear or a norm",
        "serial_adapter at ffn of layer 0, 1: what it computes is no part of a linear or a norm",
    )


def test_a_head_alone_is_merged_too(trained, classes, tmp_path):
    folder = trained(classes, ())
    merge(folder, tmp_path / "merged")
    np.testing.assert_allclose(stock(tmp_path / "merged")[2], hooked(folder), atol=1e-5)


def test_merging_leaves_what_is_there_alone(trained, classes, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match="is there already"):
        merge(trained(classes), tmp_path / "mine")
    with pytest.raises(NotFound, match="no folder"):
        merge(tmp_path / "nowhere", tmp_path / "merged")
    copy = shutil.copytree(trained(classes), tmp_path / "copy")
    (copy / "modules.safetensors").write_bytes(b"other")
    with pytest.raises(InvalidInput, match="not the tensors that model.json tells of"):
        merge(copy, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "mine"]
