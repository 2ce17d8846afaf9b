"""Quantised bases: every module type trains on them, and they are not changed by it."""

import logging

import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from autopeft import base_models
from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model, load_model, probe_quantisation
from autopeft.errors import InvalidInput
from autopeft.messages import SearchSpec, TaskSpec
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.submission import submit
from tests.workers.conftest import lora
from workers import proxy
from workers.devices import pick_dtype

QUANTISED = ("nf4", "int8")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]
# bitsandbytes quantises blocks of 64 weights.
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.1,
}
CONFIGS = {"bert": SHAPE, "llama": SHAPE | {"num_key_value_heads": 2}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, model_folder):
    """Folders of tiny models wide enough to be quantised, with a tokeniser."""
    made = {}
    for family, changes in CONFIGS.items():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, num_labels=2, **changes))
        made[family] = tmp_path_factory.mktemp(family)
        model.save_pretrained(made[family])
        AutoTokenizer.from_pretrained(model_folder).save_pretrained(made[family])
    return made


@pytest.fixture(scope="module")
def quantised(folders):
    """``quantised(family, quantisation, device)``: that model, loaded once; its name and whether it is bare."""
    loaded = {}

    def load(family, quantisation, device):
        key = (family, quantisation, device)
        if key not in loaded:
            where = torch.device(device)
            name = str(folders[family])
            model = load_model(name, "classification", 3, where, pick_dtype("auto", where), quantisation)
            outputs(model)  # int8 puts its weights in place at the first pass
            loaded[key] = model
        return loaded[key], describe_model(str(folders[family])).geometry

    return load


def batch(device):
    ids = torch.randint(5, 64, (6, 9), generator=torch.Generator().manual_seed(0))
    ids[1, 4:] = 0
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def outputs(model):
    with torch.no_grad():
        return model(**batch(next(model.parameters()).device)).logits


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)}


def everywhere(module, geometry):
    kind = MODULE_TYPES.get(module)
    size = 4 if kind.sized else 0
    options = (("gate", True),) if "gate" in kind.options else ()
    places = [site for site in geometry.sites if site.kind in kind.kinds]
    return Architecture(tuple(Placement(module, site.name, site.layer, size, options) for site in places))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("quantisation", QUANTISED)
@pytest.mark.parametrize("module", MODULE_TYPES.names)
def test_every_module_type_trains_on_a_quantised_base_and_leaves_it_as_it_was(
    quantised, module, quantisation, family, device
):
    model, geometry = quantised(family, quantisation, device)
    before, said = snapshot(model), outputs(model)
    with Attachment(model, everywhere(module, geometry), geometry) as attachment:
        parameters = [p for group in attachment.parameter_groups().values() for p in group]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            logits = model(**batch(device)).logits.float()
            loss = functional.cross_entropy(logits, torch.arange(6, device=device) % 3)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        for name, parameter in attachment.modules.named_parameters():
            assert parameter.dtype == torch.float32
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert any(p.grad.abs().max() > 1e-6 for p in attachment.modules.parameters())
        assert all(loss == loss and loss < 100 for loss in losses) and losses[-1] < losses[0]
        frozen = [name for name, p in model.base_model.named_parameters() if p.requires_grad or p.grad is not None]
        assert frozen == []
    after = snapshot(model)
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(outputs(model), said)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("quantisation", "stored", "layer"),
    [("nf4", torch.uint8, "Linear4bit"), ("int8", torch.int8, "Linear8bitLt")],
)
@pytest.mark.parametrize("family", CONFIGS)
def test_every_linear_of_the_base_is_quantised_and_the_head_is_not(
    quantised, folders, family, quantisation, stored, layer, device
):
    model, geometry = quantised(family, quantisation, device)
    paths = {site.exit for site in geometry.sites if site.kind == "linear"}
    linears = [model.base_model.get_submodule(path) for path in paths]
    assert {type(linear).__name__ for linear in linears} == {layer}
    assert {linear.weight.dtype for linear in linears} == {stored}
    if quantisation == "nf4":
        assert all(linear.weight.quant_state.nested for linear in linears), "scales are quantised too"
    head = model.classifier if family == "bert" else model.score
    assert head.weight.dtype.is_floating_point
    plain = load_model(str(folders[family]), "classification", 3, torch.device("cpu"), torch.float32)
    assert describe_model(str(folders[family])).parameters == sum(p.numel() for p in plain.base_model.parameters())
    base = model.base_model(**batch(device)).last_hidden_state.float().cpu()
    wanted = plain.base_model(**batch("cpu")).last_hidden_state
    mask = batch("cpu")["attention_mask"].bool()
    assert functional.cosine_similarity(base[mask], wanted[mask], dim=-1).min() > 0.9


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("quantisation", QUANTISED)
def test_a_request_on_a_quantised_base_is_carried_out_without_a_word(
    request_for, folders, fresh_worker, caplog, capfd, quantisation, family, precision
):
    request = request_for(
        lora(quantisation=quantisation), model=str(folders[family]), precision=precision, keep_weights=True
    )
    capfd.readouterr()
    first, again = proxy.run(request), proxy.run(request)
    assert first.state == "complete", first.detail
    assert (first.curve, first.metrics, first.params) == (again.curve, again.metrics, again.params)
    assert first.params == lora_parameters(family)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("bitsandbytes")] == []
    assert "MatMul8bitLt" not in capfd.readouterr().err


def lora_parameters(family):
    value = 64 if family == "bert" else 32  # two of four heads
    return 2 * 4 * (64 + 64 + 64 + value)


@pytest.mark.parametrize("quantisation", ["none", *QUANTISED])
def test_this_machine_can_train_on_a_quantised_base(quantisation, caplog):
    probe_quantisation(quantisation)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("quantisation", QUANTISED)
def test_one_that_cannot_says_so_at_submission(quantisation, monkeypatch, model_folder, classes):
    def fail(_):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(base_models, "_quantised_linear", fail)
    remedy = r"bitsandbytes cannot train on such a base on \w+ here \(no kernel image is available\); use none"
    with pytest.raises(InvalidInput, match=f"quantise = '{quantisation}': {remedy}"):
        probe_quantisation(quantisation)
    spec = SearchSpec(
        model=str(model_folder), task=TaskSpec(name=classes.name), quantise=quantisation, executor="inline"
    )
    with pytest.raises(InvalidInput, match="quantise"):
        submit(spec)
    submit(spec.model_copy(update={"quantise": "none"}))


def test_a_backward_pass_without_a_finite_gradient_is_no_training(monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return x * float("nan")

    monkeypatch.setattr(base_models, "_quantised_linear", lambda _: Broken())
    with pytest.raises(InvalidInput, match="the backward pass gave no finite gradient"):
        probe_quantisation("nf4")
