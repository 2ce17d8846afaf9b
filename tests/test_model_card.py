"""The model card of a trained folder: for the hub's reader, and for people."""

import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import ModelSource, describe_model
from autopeft.messages import TaskSpec
from autopeft.model_card import CardFacts, base_licence, model_card
from autopeft.trained_files import TrainedFacts

ARCHITECTURE = Architecture(
    (
        Placement("lora", "attention.query", 0, 8),
        Placement("lora", "attention.query", 1, 8),
        Placement("bitfit", "ffn.out", 1),
    )
)
BASELINES = [
    {"name": "head only", "params": 0, "mean": 0.61, "std": None, "seeds": 1},
    {"name": "LoRA | r=8", "params": 73728, "mean": 0.69, "std": 0.011, "seeds": 3},
]
SPREAD = {"mean": 0.71234, "std": 0.0123}


@pytest.fixture
def write(make_recipe):
    """``write(changes...)``: the card of a model with this recipe."""

    def write(
        architecture=ARCHITECTURE, labels=("no", "yes"), texts=1, merged=False, model="minilm", task=None, **changes
    ):
        recipe = make_recipe(model, TaskSpec(name="docstrings"), architecture, **changes)
        if task is not None:
            recipe = recipe.model_copy(update={"task": recipe.task.model_copy(update=task)})
        trained = TrainedFacts(
            base_model=recipe.base_model.address,
            base_model_hash=recipe.base_model.hash,
            kind="classification" if labels else "regression",
            labels=labels,
            texts=texts,
            max_length=128,
            center=0,
            scale=1,
            seed=1,
            architecture=architecture.fingerprint,
            modules="0" * 64,
        )
        metrics = {
            "metric": "accuracy",
            "kept_seed": 1,
            "scores": {part: {"accuracy": SPREAD} for part in ("holdout", "validation", "test")},
            "runs": [
                {"seed": 0, "state": "failed"},
                {"seed": 1, "state": "complete", "params": 1234, "head_params": 770},
            ],
            "task_hash": {"recipe": "a" * 16, "found": "b" * 16},
        }
        base = describe_model(model)
        return model_card(CardFacts(recipe, trained, metrics, base, {"torch": "2.13.0"}, merged))

    return write


def section(card, title):
    return re.split(r"^## ", card, flags=re.MULTILINE)[
        [*re.findall(r"^## (.*)$", card, re.MULTILINE)].index(title) + 1
    ]


def test_the_hub_reads_the_scores_in_its_front_matter(write):
    data = ModelCard(write()).data
    assert (data.library_name, data.pipeline_tag, data.metrics) == ("autopeft", "text-classification", ["accuracy"])
    assert data.tags == ["autopeft", "peft", "bitfit", "lora"]
    assert [(r.dataset_split, r.metric_type, r.metric_value) for r in data.eval_results] == [
        ("validation", "accuracy", 0.71234),
        ("test", "accuracy", 0.71234),
    ]
    assert data.get("license") is None  # that of the trained model is not ours to say


@pytest.mark.parametrize(
    "task, data_sets",
    [
        ("glue/sst2", ["nyu-mll/glue"]),
        ("hf:org/data/config@main", ["org/data"]),
        ("hf:./folder/data", None),
        ("hf:/folder/data", None),
        ("docstrings", None),
    ],
)
def test_a_data_set_of_the_hub_is_linked(write, task, data_sets):
    assert ModelCard(write(task={"name": task})).data.datasets == data_sets


def test_the_architecture_is_drawn_as_layers_by_modules(write):
    assert """```text
        bitfit    lora
layer   ffn.out   attention.query
    0         ·                 8
    1         ■                 8
  2-5         ·                 ·
```""" in section(write(), "Architecture")
    assert "the task head alone" in section(write(architecture=Architecture()), "Architecture")
    assert "stored as nf4" in section(write(architecture=ARCHITECTURE.with_quantisation("nf4")), "Architecture")


def test_the_scores_stand_beside_the_baselines_where_the_recipe_knows_them(write):
    assert "| validation | accuracy | 0.7123 | 0.0123 |" in section(write(), "Scores")
    assert "over 1 seed(s). The weights are those of seed 1." in section(write(), "Scores")
    assert "In the search" not in write()
    told = section(write(baselines=BASELINES), "Scores")
    assert "(short proxy runs, holdout rows)" in told
    assert "| **this architecture** | 1,000 | 0.5000 |  | 1 |" in told
    assert "| head only | 0 | 0.6100 |  | 1 |" in told
    assert r"| LoRA \| r=8 | 73,728 | 0.6900 | 0.0110 | 3 |" in told


def test_counts_hashes_versions_and_how_to_load_it_are_told(write):
    card = write()
    assert "| trained modules | 1,234 | 0.005433 % |" in card and "| task head | 770 |" in card
    assert "| base model, frozen | 22,713,216 | 100 % |" in card
    assert "docstrings, hash `bbbbbbbbbbbbbbbb`" in card and "torch 2.13.0" in card
    assert f"minilm, hash `{describe_model('minilm').fingerprint}`" in card
    assert "autopeft predict DIR --input FILE" in card and 'model.predict(["a text"])' in card
    assert 'model.predict(["a text"], ["the second text"])' in write(texts=2)
    assert "subfolder" not in card and 'from_pretrained("DIR", subfolder="merged")' in write(merged=True)
    assert "| licence of the base model | apache-2.0 |" in card


def test_a_card_does_not_tell_of_the_machines_folders(write):
    card = write(task={"name": "/home/me/secret/reviews.csv"})
    assert "reviews.csv" in card and "secret" not in card


def test_what_is_written_by_others_cannot_break_the_card(write):
    card = write(labels=("a|b", "two\nlines", "<b>", "`x`"), name="# title: *bold* | [x](y)")
    rows = [line for line in card.splitlines() if line.startswith("| labels |")]
    assert rows == [r"| labels | a\|b, two lines, \<b\>, \`x\` |"]
    assert r"# \# title: \*bold\* \| \[x\](y)" in card
    assert ModelCard(card).data.model_name == "# title: *bold* | [x](y)"


@pytest.mark.parametrize(
    "card, config, licence",
    [
        ("---\nlicense: mit\n---\n# A model\n", {}, "mit"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", {}, "mit, apache-2.0"),
        ("---\nlicense: mit\n---\n", {"license": "other"}, "mit"),
        ("# No front matter\n", {"license": "bsd"}, "bsd"),
        (None, {"license": "bsd"}, "bsd"),
        ("---\n: : [\n---\n", {}, "not stated"),
        ("---\n- a list\n---\n", {}, "not stated"),
        (None, {}, "not stated"),
    ],
)
def test_the_base_models_licence_is_what_its_folder_states(card, config, licence, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert base_licence(ModelSource("mine", str(tmp_path))) == licence


def test_a_hub_models_licence_is_on_its_own_page(write):
    assert base_licence(ModelSource("org/model", "org/model")) == "not stated"


def test_front_matter_is_yaml_by_itself(write):
    front = write(baselines=BASELINES).split("---\n")[1]
    assert yaml.safe_load(front)["model-index"][0]["name"] == "tests-3"
