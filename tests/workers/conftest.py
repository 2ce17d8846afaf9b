"""A tiny model and tiny tasks on disk, and requests for them."""

import random

import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings, TrialRequest
from autopeft.modules.attach import Attachment
from tests.search.conftest import WORDS, make_model, make_task
from workers import proxy

FIDELITY = Fidelity(rows=64, epochs=2, evaluations=2, held_out_rows=32)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def classes(tmp_path_factory):
    """A task of two classes."""
    return TaskSpec(name=str(make_task(tmp_path_factory.mktemp("task") / "rows.csv")))


@pytest.fixture(scope="session")
def numbers(tmp_path_factory):
    """``numbers(factor, shift)``: how many of the first half's words a text has, as a number to predict."""

    def make(factor=1.0, shift=0.0):
        rng = random.Random(0)
        lines = ["text,score"]
        for _ in range(200):
            words = [rng.choice(WORDS) for _ in range(8)]
            lines.append(f"{' '.join(words)},{factor * sum(w in WORDS[:30] for w in words) + shift}")
        path = tmp_path_factory.mktemp("numbers") / "rows.csv"
        path.write_text("\n".join(lines) + "\n")
        return TaskSpec(name=str(path), score="score")

    return make


def lora(size=4, layers=(0, 1), **changes):
    sites = ("attention.query", "attention.value")
    return Architecture(tuple(Placement("lora", site, layer, size) for site in sites for layer in layers), **changes)


MIXED = [
    ("lora", "attention.query", 2),
    ("lora", "ffn.out", 2),
    ("bitfit", "attention.value", 0),
    ("ia3", "ffn.hidden", 0),
    ("serial_adapter", "ffn", 2),
    ("parallel_adapter", "attention", 2),
    ("layer_norm", "norm.ffn", 0),
]


def mixed():
    """Parallel and sequential modules, some of them at one module of the model."""
    return Architecture(tuple(Placement(m, s, layer, size) for layer in (0, 1) for m, s, size in MIXED))


def gated_logits(attachment, batch, gates=None):
    keys = [p.key for p in attachment.architecture.placements]
    attachment.set_gates({} if gates is None else dict(zip(keys, gates, strict=True)))
    return attachment.model(**batch).logits


@pytest.fixture
def attach_gated(tiny_model, tiny_geometry):
    """``attach_gated(architecture, family, dtype)``: on a tiny model of its own, its modules moved off their start."""

    def make(architecture=None, family="bert", dtype=torch.float32, perturbed=True):
        architecture = mixed() if architecture is None else architecture
        attachment = Attachment(tiny_model(family, dtype), architecture, tiny_geometry(family), 3)
        random = torch.Generator().manual_seed(5)
        for parameter in attachment.modules.parameters() if perturbed else ():
            parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=random))
        return attachment

    return make


@pytest.fixture
def request_for(model_folder, classes):
    """``request_for(architecture, ...)``: a request of a second or less."""

    def make(architecture=None, **changes):
        settings = {
            "key": "trial 1",
            "model": str(model_folder),
            "task": classes,
            "architecture": (lora() if architecture is None else architecture).to_dict(),
            "fidelity": FIDELITY,
            "training": TrainingSettings(batch_size=16),
            "precision": "float32",
        }
        return TrialRequest(**(settings | changes))

    return make


@pytest.fixture
def fresh_worker(monkeypatch):
    """A worker that holds nothing yet, for one test."""
    monkeypatch.setattr(proxy, "_residency", None)
