"""Shared fixtures: one tiny model per family, made from its config on the spot."""

import copy
import importlib.metadata
import signal

import hypothesis
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from autopeft.base_models import describe_model
from autopeft.geometry import ModelGeometry
from autopeft.messages import TaskSpec
from autopeft.modules import MODULE_TYPES
from autopeft.recipe import Recipe
from autopeft.tasks import load_task
from workers.packing import Together

# A busy machine is no reason to fail, and a test run says the same twice.
hypothesis.settings.register_profile("autopeft", deadline=None, derandomize=True)
hypothesis.settings.load_profile("autopeft")

# Tiny models gain nothing from more threads, and on a busy machine lose much by waiting for them.
torch.set_num_threads(1)

# A shell starts what it puts in the background with Ctrl-C ignored, and that is inherited: the tests that press Ctrl-C
# would wait in vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LABELS = 3
_COMMON = {"vocab_size": 64, "num_labels": LABELS, "initializer_range": 0.2}
_BERT = _COMMON | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_ROBERTA = _BERT | {"pad_token_id": 1}
_LLAMA = _BERT | {"num_key_value_heads": 2}
_T5 = {
    "vocab_size": 64,
    "num_labels": LABELS,
    "d_model": 32,
    "d_kv": 12,
    "num_heads": 4,
    "d_ff": 48,
    "num_layers": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
# Widths that could be mixed up differ: heads times head width from the hidden width, keys from queries, and so on.
CONFIGS = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _BERT | {"embedding_size": 16},
    # As DeBERTa-v3 has it: one projection for contents and positions, which calls every query and key linear twice.
    "deberta-v2": _BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True},
    "distilbert": _COMMON | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "pad_token_id": 0},
    "gpt2": _COMMON | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "n_positions": 64, "pad_token_id": 0},
    "opt": _BERT | {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2, "pad_token_id": 1},
    "llama": _LLAMA,
    "mistral": _LLAMA | {"head_dim": 12},
    "qwen2": _LLAMA,
    "qwen3": _LLAMA | {"head_dim": 12},
    "t5": _T5,
    "mt5": _T5 | {"num_decoder_layers": 1},
}


@pytest.fixture(scope="session")
def tiny_config():
    """``tiny_config(family, **changes)``: the config of a tiny model of a family."""

    def make(family, **changes):
        return AutoConfig.for_model(family, **(CONFIGS[family] | changes))

    return make


@pytest.fixture(scope="session")
def tiny_geometry(tiny_config):
    """``tiny_geometry(family)``: the geometry of that family's tiny model."""

    def make(family):
        return ModelGeometry.from_config(tiny_config(family).to_dict())

    return make


@pytest.fixture(scope="session")
def tiny_model(tiny_config):
    """``tiny_model(family, dtype)``: a classifier of three labels; equal weights and a fresh copy at every call."""
    originals = {}

    def make(family, dtype=torch.float32):
        if family not in originals:
            originals[family] = _with_random_weights(tiny_config(family))
        if dtype == torch.float32:
            return copy.deepcopy(originals[family])
        model = AutoModelForSequenceClassification.from_config(tiny_config(family), dtype=dtype)
        model.load_state_dict(originals[family].state_dict())
        return model.eval()

    return make


@pytest.fixture(scope="session")
def tiny_batch(tiny_config):
    """``tiny_batch(family, lengths, side)``: random sentences of these lengths, padded on one side, with labels."""

    def make(family, lengths=(7, 7, 7), side="right", seed=0):
        config = tiny_config(family)
        random = torch.Generator().manual_seed(seed)
        ids = torch.full((len(lengths), max(lengths)), config.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, length in enumerate(lengths):
            tokens = torch.randint(5, config.vocab_size, (length,), generator=random)
            if config.is_encoder_decoder:
                tokens[-1] = config.eos_token_id
            places = slice(0, length) if side == "right" else slice(max(lengths) - length, None)
            ids[row, places], mask[row, places] = tokens, 1
        labels = torch.arange(len(lengths)) % LABELS
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    return make


@pytest.fixture
def register(monkeypatch):
    """``register(name, module_type)``: a further module type, until the test ends; the name is returned."""

    def add(name, module_type):
        monkeypatch.setitem(MODULE_TYPES.__dict__, "names", (*MODULE_TYPES.names, name))
        monkeypatch.setitem(MODULE_TYPES._loaded, name, module_type)
        return name

    return add


@pytest.fixture
def second_prefix(register):
    """The name of another module type for keys and values."""
    return register("second", MODULE_TYPES.get("prefix"))


def _with_random_weights(config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:  # norms start at one and biases at zero, which would hide mistakes
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="session")
def make_recipe():
    """``make_recipe(model, task, architecture, ...)``: a recipe for a model and a task that are there."""

    def make(model, task, architecture, fidelity=None, settings=None, **changes):
        base, data = describe_model(model), load_task(task)
        document = {
            "schema": 2,
            "name": "tests-3",
            "created": "2026-11-21T14:05:09Z",
            "base_model": {
                "name": model,
                "location": "folder" if "/" in model else "bundled",
                "revision": None,
                "hash": base.fingerprint,
                "parameters": base.parameters,
            },
            "task": {
                **task.model_dump(),
                "metric": data.metric,
                "hash": data.fingerprint,
                "kind": data.kind,
                "labels": data.labels,
                "rows": {part: len(getattr(data, part)) for part in ("train", "holdout", "validation", "test")},
            },
            "architecture": architecture,
            "training": {
                "precision": "float32",
                "fidelity": {"rows": 32, "epochs": 1, "evaluations": 1, **(fidelity or {})},
                "settings": {"batch_size": 8, **(settings or {})},
            },
            "seeds": [0],
            "scores": {
                "metric": data.metric,
                "mean": 0.5,
                "std": None,
                "seeds": 1,
                "confirmed": False,
                "split": "holdout",
            },
            "baselines": [],
            "counts": {"params": 1000, "params_percent": 0.1},
            "search": {
                "id": "s-1",
                "name": "tests",
                "trial": 3,
                "space": "lora",
                "sampler": "tpe",
                "budget": "4",
            },
            "versions": {"peft": importlib.metadata.version("peft"), "torch": "1.0"},
        }
        return Recipe.model_validate({**document, **changes})

    return make


@pytest.fixture
def table(tmp_path):
    """``table(name, rows)``: a CSV file of these rows, the first of them the header; its task."""

    def write(name, rows, **spec):
        path = tmp_path / name
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        return TaskSpec(name=str(path), **spec)

    return write


@pytest.fixture
def pack_sizes(monkeypatch):
    """How many runs each pack of this process began with."""
    found, train = [], Together.train

    def watch(self):
        found.append(len(self.runs))
        return train(self)

    monkeypatch.setattr(Together, "train", watch)
    return found
