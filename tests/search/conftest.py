"""A tiny model and a tiny task on disk, in the formats of real ones: a trial on them takes milliseconds."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from autopeft.executors import EXECUTORS, ExecutorKind
from autopeft.messages import TrialReport

WORDS = [f"w{i}" for i in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def make_model(folder: Path) -> Path:
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.2,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def make_task(path: Path, rows: int = 200, seed: int = 0) -> Path:
    """Two classes that differ by which half of the words is more frequent."""
    rng = random.Random(seed)
    lines = ["text,label"]
    for i in range(rows):
        likely = WORDS[:30] if i % 2 else WORDS[30:]
        words = [rng.choice(likely if rng.random() < 0.7 else WORDS) for _ in range(rng.randint(4, 9))]
        lines.append(f"{' '.join(words)},{'low' if i % 2 else 'high'}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_task(tmp_path_factory.mktemp("task") / "rows.csv")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("AUTOPEFT_HOME", str(folder))
    monkeypatch.delenv("AUTOPEFT_DATABASE_URL", raising=False)
    monkeypatch.delenv("AUTOPEFT_RAY_ADDRESS", raising=False)
    return folder


@pytest.fixture
def options(tiny_model: Path, tiny_task: Path, home: Path) -> dict[str, object]:
    """A search of the tiny model that takes a second or two, in this process."""
    fidelity = {"rows": 64, "epochs": 1, "evaluations": 1, "rungs": [], "held_out_rows": 32}
    return {
        "model": str(tiny_model),
        "task": {"name": str(tiny_task)},
        "space": "autopeft",
        "budget": "12",
        "executor": "inline",
        "sampler": "random",
        "warm_start": "none",
        "proxy": fidelity,
        "full": fidelity,
        "confirm": 2,
    }


def autopeft(*arguments: str, home: Path, **more: object) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own."""
    environment = {**os.environ, "AUTOPEFT_HOME": str(home), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "autopeft", *arguments], capture_output=True, text=True, env=environment, **more
    )


def complete(request, **changes):
    scores = dict.fromkeys(("holdout", *request.parts), 0.5)
    curve = ((1, 0.5),)
    return TrialReport(key=request.key, state="complete", scores=scores, steps=1, curve=curve, seconds=0.01, **changes)


class MadeUp:
    """Answers each request as a function says, which returns None while it is to wait."""

    def __init__(self, answer, slots, gpus):
        self.answer, self.slots, self.gpus = answer, slots, gpus
        self.asked, self.waiting = [], []

    def submit(self, request):
        self.asked.append(request)
        self.waiting.append(request)

    def wait(self, timeout):
        answers = [(request, self.answer(request)) for request in self.waiting]
        self.waiting = [request for request, report in answers if report is None]
        if len(self.waiting) == len(answers):
            time.sleep(0.02)
        return [report for _, report in answers if report is not None]

    def close(self):
        self.waiting.clear()


@pytest.fixture
def made_up(monkeypatch):
    """``made_up(answer)``: every search of the executor ``inline`` is answered so; what was asked of it."""

    def use(answer=complete, slots=1, gpus=0.0):
        executor = MadeUp(answer, slots, gpus)
        monkeypatch.setitem(EXECUTORS._loaded, "inline", ExecutorKind("made up", lambda _: executor))
        return executor.asked

    return use
