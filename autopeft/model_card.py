"""The model card of a trained folder, for the hub and for people: what the model is, what it scores, how to use it.

It says no more than is known: nothing of intended use, and of the base model's licence only what its own card states.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from autopeft.base_models import BaseModel, ModelSource
from autopeft.drawing import draw
from autopeft.recipe import Recipe
from autopeft.trained_files import CARD, MERGED, TrainedFacts

WIDTH = 110
NOT_STATED = "not stated"


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    Attributes:
        recipe: what was trained.
        trained: what prediction goes by.
        metrics: ``metrics.json``.
        base: the base model as it is here.
        versions: of the packages that trained it.
        merged: whether the folder holds the merged model too.
    """

    recipe: Recipe
    trained: TrainedFacts
    metrics: dict[str, Any]
    base: BaseModel
    versions: dict[str, str]
    merged: bool

    @property
    def counts(self) -> tuple[int, int]:
        """Trained parameters of the modules, and of the head."""
        run = next(run for run in self.metrics["runs"] if run["seed"] == self.trained.seed)
        return run["params"], run["head_params"]


def model_card(facts: CardFacts) -> str:
    """Return the card as Markdown with the hub's YAML in front."""
    sections = [
        f"# {_plain(facts.recipe.name)}\n\n{_summary(facts)}",
        f"## Architecture\n\n{_architecture(facts)}",
        f"## Scores\n\n{_scores(facts)}",
        f"## Parameters\n\n{_parameters(facts)}",
        f"## Use\n\n{_use(facts)}",
        f"## Data and training\n\n{_training(facts)}",
    ]
    text = "\n\n".join(sections)
    return str(ModelCard(f"---\n{_front_matter(facts).to_yaml()}\n---\n\n{text}\n"))


def base_licence(source: ModelSource) -> str:
    """Return the licence that a model states in its folder's card or config; ``not stated`` where there is none."""
    if not source.local:
        return NOT_STATED
    folder = Path(source.location)
    try:
        card = ModelCard((folder / CARD).read_text(encoding="utf-8"), ignore_metadata_errors=True)
        stated = card.data.get("license")
    except (OSError, ValueError, yaml.YAMLError):  # none, or one that is not readable
        stated = None
    if stated is None:
        stated = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("license")
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated or NOT_STATED)


def _front_matter(facts: CardFacts) -> ModelCardData:
    recipe, metric = facts.recipe, facts.metrics["metric"]
    hub_model = recipe.base_model.name.partition("@")[0] if recipe.base_model.location == "hub" else None
    return ModelCardData(
        model_name=recipe.name,
        library_name="autopeft",
        pipeline_tag="text-classification",
        base_model=hub_model,
        datasets=_hub_data_set(recipe.task.name),
        tags=["autopeft", "peft", *recipe.architecture.module_types],
        metrics=[metric],
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=re.sub(r"[^a-z0-9]+", "-", _shown(recipe.task.name).lower()).strip("-") or "data",
                dataset_name=_shown(recipe.task.name),
                dataset_split=split,
                metric_type=metric,
                metric_value=round(facts.metrics["scores"][split][metric]["mean"], 6),
            )
            for split in ("validation", "test")
        ],
    )


def _hub_data_set(task: str) -> list[str] | None:
    if task.startswith("glue/"):
        return ["nyu-mll/glue"]
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:[/@].*)?", task)
    return [found[1]] if found and not found[1].startswith(".") else None


def _summary(facts: CardFacts) -> str:
    task, base = facts.recipe.task, _shown(facts.recipe.base_model.name)
    texts = "one text" if facts.trained.texts == 1 else "two texts"
    kind = f"{len(facts.trained.labels)} classes" if facts.trained.labels else "a number"
    return (
        f"Predicts {kind} from {texts} a row, as in the task {_plain(_shown(task.name))}: the frozen base model "
        f"{_plain(base)} with trained PEFT modules and a task head, found by AutoPEFT."
    )


def _architecture(facts: CardFacts) -> str:
    architecture = facts.recipe.architecture
    if not architecture.placements:
        return "No modules: the task head alone is trained."
    picture = draw([architecture], facts.base.geometry, WIDTH)
    legend = f"\n\n{picture.legend}" if picture.legend else ""
    drawing = "\n".join(picture.drawings[0])
    quantisation = architecture.quantisation
    stored = "" if quantisation == "none" else f" The base model is stored as {quantisation}."
    return (
        f"{_plain(architecture.summary())}. Layers by modules, with the size in each cell (`■` for a module that has "
        f"none, `·` for no module).{stored}\n\n```text\n{drawing}{legend}\n```"
    )


def _scores(facts: CardFacts) -> str:
    runs = sum(run["state"] == "complete" for run in facts.metrics["runs"])
    rows = [
        (split, metric, _number(spread["mean"]), _number(spread["std"]))
        for split, metrics in facts.metrics["scores"].items()
        for metric, spread in metrics.items()
    ]
    kept = f"The weights are those of seed {facts.trained.seed}."
    told = f"Mean and sample standard deviation over {runs} seed(s). {kept}"
    return f"{told}\n\n{_table(('split', 'metric', 'mean', 'deviation'), rows)}{_beside_baselines(facts.recipe)}"


def _beside_baselines(recipe: Recipe) -> str:
    if not recipe.baselines:
        return ""
    scores = recipe.scores
    own = ("**this architecture**", recipe.counts.params, scores.mean, scores.std, scores.seeds)
    rows = [own, *((_plain(b.name), b.params, b.mean, b.std, b.seeds) for b in recipe.baselines)]
    table = _table(
        ("configuration", "parameters", scores.metric, "deviation", "seeds"),
        [(name, f"{params:,}", _number(mean), _number(std), str(seeds)) for name, params, mean, std, seeds in rows],
    )
    how = "trained in full" if scores.confirmed else "short proxy runs"
    return f"\n\nIn the search, beside what people pick by habit ({how}, {scores.split} rows):\n\n{table}"


def _parameters(facts: CardFacts) -> str:
    params, head = facts.counts
    base = facts.base.parameters
    rows = [
        ("trained modules", f"{params:,}", f"{100 * params / base:.4g} %"),
        ("task head", f"{head:,}", f"{100 * head / base:.4g} %"),
        ("base model, frozen", f"{base:,}", "100 %"),
    ]
    return _table(("what", "parameters", "of the base model"), rows)


def _use(facts: CardFacts) -> str:
    pair = "" if facts.trained.texts == 1 else ', ["the second text"]'
    python = (
        "from autopeft.trained import TrainedModel\n\n"
        f'model = TrainedModel.load("DIR")\nmodel.predict(["a text"]{pair})'
    )
    plain = (
        "\n\nWithout AutoPEFT, the modules folded into the base model's weights:\n\n```python\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
        f'model = AutoModelForSequenceClassification.from_pretrained("DIR", subfolder="{MERGED}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("DIR", subfolder="{MERGED}")\n```'
    )
    return (
        "`DIR` is this folder; `hf download REPO --local-dir DIR` brings it from the hub.\n\n"
        "```sh\nautopeft predict DIR --input FILE\n```\n\n"
        f"```python\n{python}\n```{plain if facts.merged else ''}"
    )


def _training(facts: CardFacts) -> str:
    recipe, trained = facts.recipe, facts.trained
    rows = recipe.task.rows
    told = [
        ("data", f"{_plain(_shown(recipe.task.name))}, hash `{facts.metrics['task_hash']['found']}`"),
        ("rows", ", ".join(f"{name} {count:,}" for name, count in rows.items())),
        ("longest text", f"{trained.max_length} tokens; longer ones are cut"),
        ("labels", ", ".join(map(_plain, trained.labels)) or "none: a number is predicted"),
        ("base model", f"{_plain(_shown(recipe.base_model.name))}, hash `{trained.base_model_hash}`"),
        ("licence of the base model", _plain(base_licence(facts.base.source))),
        ("training", "`recipe.yaml`: `autopeft train recipe.yaml --out DIR` trains it again"),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())),
    ]
    return _table(("what", "value"), told)


def _shown(name: str) -> str:
    """Return a name without the folders of the machine that it was made on."""
    return Path(name).name if "/" in name and Path(name).is_absolute() else name


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, in one line of a table."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
