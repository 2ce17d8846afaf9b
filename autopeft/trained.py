"""A trained model as ``autopeft train`` leaves it in a folder: loading it, and predicting with it.

``docs/recipe.md`` explains the files of the folder.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autopeft.base_models import describe_model
from autopeft.errors import InvalidInput, Problem
from autopeft.recipe import Recipe
from autopeft.trained_files import MODULES, TrainedFacts, read_folder


@dataclass(frozen=True)
class Prediction:
    """What is predicted for one row.

    Attributes:
        label: the most probable class; None for a regression.
        probabilities: of every class by its label, adding up to one; None for a regression.
        score: the number, in the task's own units; None for a classification.
    """

    label: str | None = None
    probabilities: dict[str, float] | None = None
    score: float | None = None


class TrainedModel:
    """A base model with trained modules on it, in float32; made by :meth:`load`."""

    def __init__(self, recipe: Recipe, facts: TrainedFacts, predictor: Any) -> None:
        self.recipe = recipe
        self.facts = facts
        self._predictor = predictor

    @classmethod
    def load(cls, folder: Path | str, device: str | None = None) -> TrainedModel:
        """Load what ``autopeft train`` wrote.

        Args:
            folder: with the recipe, the trained modules and the tokeniser.
            device: as torch names it (``cpu``, ``cuda:1``); None takes the GPU if there is one.

        Raises:
            NotFound: there is no such folder.
            InvalidInput: files are missing or do not belong together, or the base model's weights have changed.
        """
        folder = Path(folder).expanduser()
        recipe, facts = read_folder(folder)
        describe_model(facts.base_model).require(facts.base_model_hash)
        predictor = importlib.import_module("workers.inference").Predictor(
            model=facts.base_model,
            kind=facts.kind,
            outputs=len(facts.labels) or 1,
            architecture=recipe.architecture,
            modules=folder / MODULES,
            tokenizer=folder,
            max_length=facts.max_length,
            device=device,
        )
        return cls(recipe, facts, predictor)

    @property
    def model(self) -> Any:
        """The transformers model, with the modules attached by hooks; call it as any other."""
        return self._predictor.model

    def predict(
        self, first: Sequence[str], second: Sequence[str] | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        """Return a prediction for every row, in their order.

        Args:
            first: the texts, or the first texts of pairs.
            second: the second texts, where the task is about pairs.
            batch_size: rows at a time.

        Raises:
            InvalidInput: it is no list of texts, or not one or two a row as in training.
        """
        self._check(first, second)
        if not first:
            return []
        outputs = self._predictor.outputs(first, second, batch_size).astype(np.float64)
        if self.facts.kind == "regression":
            scores = outputs[:, 0] * self.facts.scale + self.facts.center
            return [Prediction(score=float(score)) for score in scores]
        weights = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares = weights / weights.sum(axis=1, keepdims=True)
        labels = self.facts.labels
        return [
            Prediction(label=labels[row.argmax()], probabilities=dict(zip(labels, row.tolist(), strict=True)))
            for row in shares
        ]

    def _check(self, first: Sequence[str], second: Sequence[str] | None) -> None:
        problems = []
        for name, texts in (("first", first), ("second", second)):
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts or ()):
                problems.append(Problem(name, None, "give a list of texts"))
        given = 1 if second is None else 2
        if given != self.facts.texts:
            problems.append(Problem("texts a row", given, f"this model was trained on {self.facts.texts}"))
        elif second is not None and len(first) != len(second):
            problems.append(Problem("second", len(second), f"as many texts as first are needed, {len(first)}"))
        if problems:
            raise InvalidInput(*problems)
