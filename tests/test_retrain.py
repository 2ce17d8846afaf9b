"""Training a recipe: real runs on MiniLM for what it writes, made-up reports for what it chooses."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save

from autopeft import retrain as retraining
from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model
from autopeft.errors import AutopeftError, Conflict, InvalidInput, LossyExport
from autopeft.executors import ExecutorKind
from autopeft.messages import TrialReport
from autopeft.modules.count import count_parameters
from autopeft.recipe import read_recipe
from autopeft.retrain import retrain
from autopeft.submission import package_versions

ARCHITECTURE = Architecture(
    (Placement("lora", "attention.query", 1, 4), Placement("prefix", "attention.kv", 5, 3)),
    training=(("learning_rate", 1e-3),),
)
FILES = ["README.md", "metrics.json", "model.json", "modules.safetensors", "recipe.yaml"]
FILES += ["tokenizer.json", "tokenizer_config.json"]
FOLDABLE = Architecture((Placement("lora", "attention.query", 1, 4), Placement("ia3", "ffn.hidden", 5)))
OTHER_TORCH = f"the recipe was made with torch 1.0; here is {torch.__version__}"
FAILED = TrialReport.failure("", "diverged", "the loss is nan")


def sentences(rows, seed=0):
    words, draw = [["bad", "poor", "ugly"], ["good", "fine", "nice"]], random.Random(seed)
    return [("text", "label")] + [
        (" ".join(draw.choice(words[i % 2]) for _ in range(5)), ["no", "yes"][i % 2]) for i in range(rows)
    ]


@pytest.fixture
def recipe(make_recipe, table):
    return make_recipe("minilm", table("task.csv", sentences(64)), ARCHITECTURE)


def report(holdout, validation=0.5, weights=b"w", **changes):
    metrics = {part: {"accuracy": score} for part, score in (("holdout", holdout), ("validation", validation))}
    metrics["test"] = {"accuracy": validation / 2}
    scores = {part: values["accuracy"] for part, values in metrics.items()}
    return TrialReport(key="", state="complete", scores=scores, metrics=metrics, weights=weights, **changes)


@pytest.fixture
def made_up(monkeypatch):
    """``made_up({seed: report})``: let an executor give these reports, the last seed's first."""

    def use(reports):
        class Executor:
            slots, closed = 2, False

            def __init__(self):
                self.waiting = []

            def submit(self, request):
                self.waiting.append(request)

            def wait(self, timeout):
                request = self.waiting.pop()
                return [reports[request.seed].model_copy(update={"key": request.key})]

            def close(self):
                Executor.closed = True

        kind = ExecutorKind("made up", lambda options: Executor())
        monkeypatch.setattr(retraining.EXECUTORS, "get", lambda name: kind)
        return Executor

    return use


def test_a_recipe_becomes_a_folder_with_everything_in_it(recipe, tmp_path):
    heard = []
    summary = retrain(recipe, [0, 1], tmp_path / "out", listener=lambda seed, run: heard.append((seed, run.state)))
    assert heard == [(0, "complete"), (1, "complete")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert read_recipe(tmp_path / "out" / "recipe.yaml") == recipe
    assert summary.warnings == (OTHER_TORCH,)
    facts = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert facts == summary.facts
    assert [run["seed"] for run in facts["runs"]] == [0, 1]
    for run in facts["runs"]:
        assert run["params"] == count_parameters(ARCHITECTURE, describe_model("minilm").geometry)
        assert set(run["metrics"]) == {"holdout", "validation", "test"}
        assert run["seconds"] > 0
    for part, spreads in facts["scores"].items():
        for name, spread in spreads.items():
            first, second = (run["metrics"][part][name] for run in facts["runs"])
            assert spread["mean"] == pytest.approx((first + second) / 2)
            assert spread["std"] == pytest.approx(abs(first - second) / 2**0.5)
    assert facts["versions"]["torch"] == {"recipe": "1.0", "found": torch.__version__}
    assert "peft" not in facts["versions"]


def test_the_same_recipe_and_seed_give_the_same_scores_and_weights(recipe, tmp_path):
    runs = [retrain(recipe, [3], tmp_path / name).runs[3] for name in ("one", "two")]
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].curve == runs[1].curve
    tensors = [load_file(tmp_path / name / "modules.safetensors") for name in ("one", "two")]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_the_held_out_rows_choose_the_seed_and_nothing_else_does(recipe, tmp_path, made_up):
    best = save({"x": torch.ones(1)})
    executor = made_up({0: report(0.7, 0.95), 1: report(0.8, 0.6, best), 2: report(0.8, 0.9), 3: report(0.6, 1.0)})
    summary = retrain(recipe, [0, 1, 2, 3], tmp_path / "out")
    assert summary.kept == 1  # of the two best, the lower seed, though its validation score is the worse
    assert (tmp_path / "out" / "modules.safetensors").read_bytes() == best
    assert list(summary.runs) == [0, 1, 2, 3]
    assert summary.scores["validation"]["accuracy"].mean == pytest.approx((0.95 + 0.6 + 0.9 + 1.0) / 4)
    assert executor.closed


def test_a_seed_that_fails_is_told_of_and_left_out(recipe, tmp_path, made_up):
    made_up({0: report(0.7, 0.9), 1: FAILED})
    summary = retrain(recipe, [0, 1], tmp_path / "out")
    assert summary.warnings == (OTHER_TORCH, "seed 1 failed: diverged: the loss is nan")
    assert (summary.scores["validation"]["accuracy"].mean, summary.scores["validation"]["accuracy"].std) == (0.9, None)
    facts = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert facts["runs"][1] == {
        "seed": 1,
        "state": "failed",
        "reason": "diverged",
        "detail": "the loss is nan",
        "seconds": 0.0,
    }


def test_where_every_seed_fails_the_reasons_are_given_and_nothing_is_left(recipe, tmp_path, made_up):
    executor = made_up({0: FAILED, 1: FAILED})
    with pytest.raises(AutopeftError, match="seed 0: diverged: the loss is nan\nseed 1: diverged"):
        retrain(recipe, [0, 1], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert executor.closed


def test_data_that_changed_since_is_a_warning_with_both_hashes(recipe, tmp_path, table, made_up):
    made_up({0: report(0.7)})
    table("task.csv", sentences(64, seed=1))
    summary = retrain(recipe, [0], tmp_path / "out")
    found = summary.facts["task_hash"]["found"]
    assert found != recipe.task.hash
    warning, _ = summary.warnings
    assert "data of task" in warning and recipe.task.hash in warning and found in warning


def test_what_has_changed_is_told_before_anything_is_trained(recipe, tmp_path, table, made_up):
    made_up({0: report(0.7), 1: FAILED})
    table("task.csv", sentences(64, seed=1))
    heard = []
    summary = retrain(
        recipe, [0, 1], tmp_path / "out", listener=lambda seed, run: heard.append(seed), warn=heard.append
    )
    assert sorted(heard[2:]) == [0, 1]
    assert "data of task" in heard[0] and heard[1] == OTHER_TORCH
    assert summary.warnings[:2] == tuple(heard[:2])  # and that a seed failed, which was not known by then


def test_packages_of_the_recipes_own_versions_are_no_warning(recipe, tmp_path, made_up):
    made_up({0: report(0.7)})
    same = recipe.model_copy(update={"versions": package_versions()})
    assert retrain(same, [0], tmp_path / "out").warnings == ()


def test_the_score_is_compared_with_the_recipes_on_the_same_split(recipe, tmp_path, made_up):
    made_up({0: report(0.7, 0.9), 1: report(0.8, 0.8)})
    proxy = retrain(recipe, [0, 1], tmp_path / "out").comparison
    assert (proxy.split, proxy.metric, proxy.confirmed) == ("holdout", "accuracy", False)
    assert (proxy.now, proxy.recipe, proxy.points) == pytest.approx((0.75, 0.5, 25.0))
    scores = recipe.scores.model_copy(update={"mean": 0.875, "confirmed": True, "split": "validation"})
    summary = retrain(recipe.model_copy(update={"scores": scores}), [0, 1], tmp_path / "out")
    assert summary.comparison.points == pytest.approx(-2.5)
    assert summary.facts["comparison"] == {
        "split": "validation",
        "metric": "accuracy",
        "now": pytest.approx(0.85),
        "recipe": 0.875,
        "confirmed": True,
        "points": pytest.approx(-2.5),
    }
    strange = scores.model_copy(update={"metric": "spearman"})
    summary = retrain(recipe.model_copy(update={"scores": strange}), [0], tmp_path / "out")
    assert summary.comparison is None and summary.facts["comparison"] is None


def test_what_cannot_be_merged_is_refused_before_any_training(recipe, tmp_path, made_up):
    executor = made_up({})
    with pytest.raises(
        LossyExport, match=r"prefix at attention.kv of layer 5: what it computes is no part of"
    ) as caught:
        retrain(recipe, [0], tmp_path / "out", merged=True)
    assert len(caught.value.losses) == 1  # the LoRA beside it can
    assert not (tmp_path / "out").exists() and not executor.closed


def test_a_merged_model_goes_when_the_folder_is_trained_anew_without(make_recipe, table, tmp_path):
    recipe = make_recipe("minilm", table("task.csv", sentences(64)), FOLDABLE)
    retrain(recipe, [0], tmp_path / "out", merged=True)
    assert sorted(path.name for path in (tmp_path / "out" / "merged").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert 'subfolder="merged"' in (tmp_path / "out" / "README.md").read_text()
    retrain(recipe, [0], tmp_path / "out")
    assert not (tmp_path / "out" / "merged").exists()
    assert "merged" not in (tmp_path / "out" / "README.md").read_text()


def test_a_folder_with_something_else_in_it_is_left_alone(recipe, tmp_path, made_up):
    made_up({0: report(0.7, weights=b"old"), 1: report(0.7, weights=b"new")})
    (tmp_path / "out").mkdir()
    retrain(recipe, [0], tmp_path / "out")
    retrain(recipe, [1], tmp_path / "out")
    assert (tmp_path / "out" / "modules.safetensors").read_bytes() == b"new"
    with pytest.raises(Conflict, match="holds no trained model"):
        retrain(recipe, [0], tmp_path)
    with pytest.raises(InvalidInput, match="a file; give a folder"):
        retrain(recipe, [0], tmp_path / "task.csv")


def test_everything_that_is_wrong_is_named_before_any_training(make_recipe, table, tmp_path):
    recipe = make_recipe("minilm", table("task.csv", sentences(64)), Architecture((Placement("lora", "ffn", 1, 4),)))
    (tmp_path / "task.csv").unlink()
    with pytest.raises(InvalidInput) as caught:
        retrain(recipe, [0, 0], tmp_path / "out")
    told = str(caught.value)
    assert "seeds" in told and "lora.site" in told and "task.csv" in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidInput, match="executor = 'inlin': unknown; did you mean inline"):
        retrain(recipe, [0], tmp_path / "out", executor="inlin")
