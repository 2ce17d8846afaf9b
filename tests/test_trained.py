"""Loading a trained folder and predicting with it."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model, load_model, load_tokenizer
from autopeft.errors import InvalidInput, NotFound
from autopeft.messages import TaskSpec
from autopeft.modules.attach import Attachment
from autopeft.retrain import retrain
from autopeft.tasks import load_task
from autopeft.trained import TrainedModel

ARCHITECTURE = Architecture(
    (
        Placement("lora", "attention.query", 1, 4),
        Placement("prefix", "attention.kv", 5, 3),
        Placement("serial_adapter", "ffn", 4, 6),
    )
)
TEXTS = ["the good one", "a much longer text that is bad, and ugly, and poor in every way there is", "fine"]


def rows(seed=0, count=64):
    words, draw = [["bad", "poor", "ugly"], ["good", "fine", "nice"]], random.Random(seed)
    for i in range(count):
        yield i % 2, " ".join(draw.choice(words[i % 2]) for _ in range(5))


@pytest.fixture(scope="module")
def trained(make_recipe, tmp_path_factory):
    """``trained(header, rows, ...)``: the folder of a model trained on this table."""
    made = {}

    def train(name, header, lines, architecture=ARCHITECTURE, model="minilm", fidelity=None, **spec):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            (folder / "task.csv").write_text("".join(f"{line}\n" for line in (header, *lines)))
            task = TaskSpec(name=str(folder / "task.csv"), **spec)
            retrain(make_recipe(model, task, architecture, fidelity), [0], folder / "out")
            made[name] = folder / "out"
        return made[name]

    return train


@pytest.fixture
def classifier(trained):
    return trained("classes", "text,label", [f"{text},{['no', 'yes'][y]}" for y, text in rows()])


@pytest.fixture
def copy(classifier, tmp_path):
    return shutil.copytree(classifier, tmp_path / "copy")


def logits(folder, first, second=None, outputs=2, kind="classification"):
    """Return what the trained tensors give on a base of their own, one row at a time."""
    model = load_model("minilm", kind, outputs, torch.device("cpu"), torch.float32)
    tokenizer = load_tokenizer("minilm")
    geometry = describe_model("minilm").geometry
    recipe = TrainedModel.load(folder, "cpu").recipe
    with Attachment(model, recipe.architecture, geometry, seed=99) as attachment, torch.no_grad():
        attachment.load_state_dict(load_file(folder / "modules.safetensors"))
        pairs = zip(first, second or [None] * len(first), strict=True)
        return torch.cat([model(**tokenizer(a, b, return_tensors="pt")).logits for a, b in pairs]).numpy()


def test_predictions_are_the_attachments_logits(classifier):
    model = TrainedModel.load(classifier, device="cpu")
    wanted = torch.tensor(logits(classifier, TEXTS)).double().softmax(dim=1).numpy()
    for batch_size in (1, 2, 64):
        predictions = model.predict(TEXTS, batch_size=batch_size)
        found = np.array([[p.probabilities["no"], p.probabilities["yes"]] for p in predictions])
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert [p.label for p in predictions] == [["no", "yes"][i] for i in wanted.argmax(axis=1)]
        assert [p.score for p in predictions] == [None] * 3
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_model_is_there_for_people(classifier):
    model = TrainedModel.load(classifier, device="cpu")
    inputs = load_tokenizer("minilm")(TEXTS[:1], return_tensors="pt")
    with torch.no_grad():
        out = model.model(**inputs).logits
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.numpy(), logits(classifier, TEXTS[:1]), atol=1e-6)


def test_the_scores_told_are_those_of_the_predictions(classifier):
    """The table's test rows, read back and predicted, score what training said they do."""
    model = TrainedModel.load(classifier, device="cpu")
    test = load_task(model.recipe.task.spec).test
    right = [p.label == model.facts.labels[y] for p, y in zip(model.predict(test.first), test.targets, strict=True)]
    told = json.loads((classifier / "metrics.json").read_text())["scores"]["test"]["accuracy"]["mean"]
    assert np.mean(right) == pytest.approx(told)


def test_a_regressions_predictions_are_in_the_tasks_own_units(trained):
    lines = [f"{text},{1000 + 200 * y + i % 3}" for i, (y, text) in enumerate(rows())]
    folder = trained("numbers", "text,price", lines, score="price", fidelity={"epochs": 4})
    model = TrainedModel.load(folder, "cpu")
    data = load_task(model.recipe.task.spec)
    assert model.facts.center == pytest.approx(data.train.targets.mean())
    assert model.facts.scale == pytest.approx(data.train.targets.std(ddof=1), rel=1e-5)
    predictions = model.predict(TEXTS)
    wanted = logits(folder, TEXTS, outputs=1, kind="regression")[:, 0] * model.facts.scale + model.facts.center
    np.testing.assert_allclose([p.score for p in predictions], wanted, rtol=1e-6)
    assert all(p.label is None and p.probabilities is None for p in predictions)
    errors = np.array([p.score for p in model.predict(data.test.first)]) - data.test.targets
    assert np.abs(errors).mean() < 60  # the mean of all targets is 100 away from each


def test_pairs_are_predicted_as_pairs(trained):
    lines = [f"{text},is it so?,{['no', 'yes'][y]}" for y, text in rows()]
    folder = trained("pairs", "sentence1,sentence2,label", lines, text=("sentence1", "sentence2"))
    model = TrainedModel.load(folder, "cpu")
    asked = ["is it so?", "really", "why"]
    wanted = torch.tensor(logits(folder, TEXTS, asked)).double().softmax(dim=1).numpy()
    found = [list(p.probabilities.values()) for p in model.predict(TEXTS, asked)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    with pytest.raises(InvalidInput, match="texts a row = 1: this model was trained on 2"):
        model.predict(TEXTS)
    with pytest.raises(InvalidInput, match="second = 1: as many texts as first are needed, 3"):
        model.predict(TEXTS, ["one"])


def test_what_is_no_list_of_texts_is_refused(classifier):
    model = TrainedModel.load(classifier, "cpu")
    assert model.predict([]) == []
    for wrong in ("one text", [1], [None]):
        with pytest.raises(InvalidInput, match="give a list of texts"):
            model.predict(wrong)
    with pytest.raises(InvalidInput, match="texts a row = 2: this model was trained on 1"):
        model.predict(TEXTS, TEXTS)


def test_a_folder_that_is_none_or_lacks_files_is_named(classifier, copy, tmp_path):
    with pytest.raises(NotFound, match="no folder"):
        TrainedModel.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"no model.json, recipe.yaml, modules.safetensors; give a folder that"):
        TrainedModel.load(tmp_path / "empty")
    (copy / "model.json").write_text('{"kind": "ranking"}')
    with pytest.raises(InvalidInput) as caught:
        TrainedModel.load(copy)
    assert "model.json: kind" in str(caught.value) and "model.json: labels" in str(caught.value)
    with pytest.raises(InvalidInput, match="device = 'abacus'"):
        TrainedModel.load(classifier, "abacus")


def test_files_that_do_not_belong_together_are_refused(copy):
    with (copy / "modules.safetensors").open("ab") as file:
        file.write(b" ")
    text = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(text.replace("size: 3", "size: 4"))
    with pytest.raises(InvalidInput) as caught:
        TrainedModel.load(copy)
    assert [problem.remedy for problem in caught.value.problems] == [
        "not the tensors that model.json tells of; train again",
        "not the architecture that was trained; train again",
    ]


def test_a_base_model_with_other_weights_is_refused_naming_both(copy):
    facts = json.loads((copy / "model.json").read_text())
    here, facts["base_model_hash"] = facts["base_model_hash"], "0" * 16
    (copy / "model.json").write_text(json.dumps(facts))
    with pytest.raises(InvalidInput, match=f"'minilm': its weights are {here}; this was made for {'0' * 16}"):
        TrainedModel.load(copy)


@pytest.mark.parametrize("quantisation", ["nf4", "int8"])
def test_a_model_trained_on_a_quantised_base_is_loaded_on_one(quantisation, trained):
    lora = Architecture((Placement("lora", "attention.query", 1, 4),), quantisation=quantisation)
    folder = trained(quantisation, "text,label", [f"{text},{['no', 'yes'][y]}" for y, text in rows()], lora)
    model = TrainedModel.load(folder, "cpu")
    assert "bitsandbytes" in type(model.model.bert.encoder.layer[1].attention.self.query).__module__
    assert {p.label for p in model.predict(TEXTS)} <= {"no", "yes"}
