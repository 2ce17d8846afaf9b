"""What the format ``peft`` writes is what stock peft reads, and computes what our modules compute."""

import json
import subprocess
import sys

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from peft import PeftConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model
from autopeft.errors import InvalidInput, LossyExport
from autopeft.exporters import export
from autopeft.messages import TaskSpec
from autopeft.modules.attach import Attachment
from autopeft.modules.count import count_parameters

FAMILIES = ("bert", "roberta", "distilbert", "deberta-v2", "gpt2", "llama", "t5")

# A program of somebody who has never heard of AutoPEFT. Warnings of peft about keys or tensors end it.
STOCK = """
import json, sys, warnings
import torch
from safetensors.torch import load_file, save_file
from peft import PeftModel
from transformers import AutoModelForSequenceClassification
warnings.simplefilter("error", UserWarning)
warnings.filterwarnings("ignore", "Unsupported layer type.*Norm")  # peft says so of every norm that it tunes
logits = {}
for name, case in json.load(open(sys.argv[1])).items():
    base = AutoModelForSequenceClassification.from_pretrained(case["base"], num_labels=3)
    model = PeftModel.from_pretrained(base, case["adapter"]).eval()
    with torch.no_grad():
        logits[name] = model(**load_file(case["batch"])).logits.contiguous()
save_file(logits, sys.argv[2])
assert not {name.partition(".")[0] for name in sys.modules} & {"autopeft", "workers"}
"""


def everywhere(geometry, module, sites, size=lambda layer: 0, options=lambda layer: ()):
    return Architecture(
        tuple(
            Placement(module, s.name, s.layer, size(s.layer), options(s.layer))
            for s in geometry.sites
            if s.name in sites
        )
    )


def attention(geometry):
    return ["attention.qkv"] if "attention.qkv" in geometry.site_names else ["attention.query", "attention.value"]


def lora(geometry):
    sites = [*attention(geometry), "attention.output", "ffn.in", "ffn.out"]
    return everywhere(geometry, "lora", sites, lambda i: 2 + 3 * i, lambda i: (("alpha", 1.5),) if i else ())


def lora_of_one_layer(geometry):
    sites = attention(geometry)[:1]
    return Architecture(tuple(p for p in everywhere(geometry, "lora", sites, lambda i: 4).placements if p.layer == 1))


def ia3(geometry):
    sites = [s.replace("query", "key") for s in attention(geometry)]
    return everywhere(geometry, "ia3", [*sites, "ffn.hidden"])


def gains(geometry):
    return everywhere(geometry, "layer_norm", ["norm.attention", "norm.ffn", "norm.final"])


def gains_and_biases(geometry):
    return everywhere(geometry, "layer_norm", ["norm.attention", "norm.ffn"], options=lambda _: (("bias", True),))


MADE = {f.__name__: f for f in (lora, lora_of_one_layer, ia3, gains, gains_and_biases)}
NO_NORM_BIAS = ("llama", "t5")
CASES = [
    (family, name)
    for family in FAMILIES
    for name in MADE
    if not (name == "gains_and_biases" and family in NO_NORM_BIAS)
]


@pytest.fixture(scope="module")
def tiny_folder(tiny_model, tmp_path_factory):
    """``tiny_folder(family)``: the tiny model of a family, saved as people save models."""
    made = {}

    def save(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            tiny_model(family).save_pretrained(made[family])
        return str(made[family])

    return save


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "task.csv"
    path.write_text("text,label\n" + "".join(f"row {i},{'abc'[i % 3]}\n" for i in range(90)))
    return TaskSpec(name=str(path))


def train_by_chance(attachment):
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameters in attachment.parameter_groups().values():
            for parameter in parameters:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))


@pytest.fixture(scope="module")
def computed(tiny_model, tiny_batch, tiny_folder, make_recipe, three_classes, tmp_path_factory):
    """Logits of every case: our attachment's, and those that stock peft computes from the exported files."""
    folder = tmp_path_factory.mktemp("cases")
    cases, ours = {}, {}
    for family, name in CASES:
        base, geometry = tiny_folder(family), describe_model(tiny_folder(family)).geometry
        recipe = make_recipe(base, three_classes, MADE[name](geometry))
        batch = {k: v for k, v in tiny_batch(family, (5, 7, 3)).items() if k != "labels"}
        with Attachment(tiny_model(family), recipe.architecture, geometry, seed=3) as attachment, torch.no_grad():
            train_by_chance(attachment)
            ours[f"{family} {name}"] = attachment.model(**batch).logits
            weights = folder / "weights.safetensors"
            save_file(attachment.state_dict(), weights)
        adapter = folder / f"{family} {name}"
        export(recipe, "peft", weights, adapter)
        save_file(batch, folder / f"{family}.batch")
        cases[f"{family} {name}"] = {"base": base, "adapter": str(adapter), "batch": str(folder / f"{family}.batch")}
    (folder / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(folder / "cases.json"), str(folder / "logits")],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return ours, load_file(folder / "logits")


@pytest.mark.parametrize(("family", "name"), CASES)
def test_stock_peft_computes_our_logits_from_the_files(family, name, computed):
    ours, theirs = (logits[f"{family} {name}"] for logits in computed)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


PLACES = [(f"attention.{s}", i) for s in ("query", "key", "value", "output") for i in range(12)]
PLACES += [(f"ffn.{s}", i) for s in ("in", "out") for i in range(12)]
LORAS = st.lists(
    st.builds(
        lambda place, size, alpha: Placement("lora", *place, size, (("alpha", alpha),)),
        st.sampled_from(PLACES),
        st.integers(1, 9),
        st.sampled_from([0.0, 4.0, 16.0, 2.5]),
    ),
    unique_by=lambda p: p.key,
    min_size=1,
    max_size=40,
).map(lambda placements: Architecture(tuple(placements)))


@pytest.fixture(scope="module")
def twelve_layers(tiny_config, tmp_path_factory):
    """A BERT with layers of one and of two digits, where names that are looked for as suffixes go wrong."""
    model = AutoModelForSequenceClassification.from_config(tiny_config("bert", num_hidden_layers=12))
    folder = tmp_path_factory.mktemp("twelve")
    model.save_pretrained(folder)
    return str(folder), model


@hypothesis.settings(max_examples=25)
@hypothesis.given(architecture=LORAS)
def test_peft_reads_the_ranks_and_scales_of_any_lora(
    architecture, twelve_layers, make_recipe, three_classes, tmp_path_factory
):
    folder, model = twelve_layers
    geometry = describe_model(folder).geometry
    out = tmp_path_factory.mktemp("adapter")
    export(make_recipe(folder, three_classes, architecture), "peft", None, out)
    config = PeftConfig.from_pretrained(out)
    assert not config.inference_mode
    assert config.base_model_name_or_path == folder
    adapted = get_peft_model(model, config)
    try:
        found = {
            name.removeprefix("base_model.model.bert."): (module.r["default"], module.scaling["default"])
            for name, module in adapted.named_modules()
            if isinstance(module, LoraLayer)
        }
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        head = sum(p.numel() for p in model.classifier.modules_to_save.parameters())
    finally:
        adapted.unload()
        model.requires_grad_(True)
    wanted = {}
    for p in architecture.placements:
        alpha = dict(p.options)["alpha"] or 2 * p.size
        wanted[geometry.site(p.site, p.layer).exit] = (p.size, alpha / p.size)
    assert found == wanted
    assert trained == count_parameters(architecture, geometry) + head


def test_the_keys_are_those_that_peft_writes_itself(tiny_folder, make_recipe, three_classes, tmp_path):
    geometry = describe_model(tiny_folder("bert")).geometry
    for name in ("lora", "ia3"):
        export(make_recipe(tiny_folder("bert"), three_classes, MADE[name](geometry)), "peft", None, tmp_path)
        written = json.loads((tmp_path / "adapter_config.json").read_text())
        PeftConfig.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
        again = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
        assert sorted(written) == sorted(set(written) & set(again))
        for key in ("target_modules", "feedforward_modules"):
            assert sorted(written.pop(key, [])) == sorted(again.pop(key, None) or [])
        assert {key: again[key] for key in written} == written


def mixed(geometry):
    return Architecture(
        (*lora(geometry).placements, *everywhere(geometry, "prefix", ["attention.kv"], lambda _: 3).placements)
    )


REFUSED = {
    "mixed": (mixed, "peft holds one method per adapter; this mixes lora and prefix"),
    "serial": (lambda g: everywhere(g, "serial_adapter", ["ffn"], lambda _: 4), "peft has no bottleneck adapters"),
    "parallel": (lambda g: everywhere(g, "parallel_adapter", ["ffn"], lambda _: 4), "peft has no bottleneck adapters"),
    "prefix": (lambda g: everywhere(g, "prefix", ["attention.kv"], lambda _: 4), "one length for all layers"),
    "bitfit": (lambda g: everywhere(g, "bitfit", ["ffn.in"]), "peft trains biases beside LoRA alone"),
    "head only": (lambda g: Architecture(), "only the task head is trained"),
    "both ends": (lambda g: everywhere(g, "ia3", ["ffn.hidden", "ffn.out"]), "the input or the output of a linear"),
    "frozen bias": (gains, "which the recipe leaves as it is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_peft_cannot_hold_is_refused_with_the_reason(name, tiny_folder, make_recipe, three_classes, tmp_path):
    build, reason = REFUSED[name]
    recipe = make_recipe(tiny_folder("bert"), three_classes, build(describe_model(tiny_folder("bert")).geometry))
    for allow_lossy in (False, True):
        with pytest.raises(LossyExport) as caught:
            export(recipe, "peft", None, tmp_path / "out", allow_lossy)
        assert any(reason in loss for loss in caught.value.losses)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", NO_NORM_BIAS)
def test_a_shift_of_a_norm_without_bias_is_refused(family, tiny_folder, make_recipe, three_classes, tmp_path):
    geometry = describe_model(tiny_folder(family)).geometry
    recipe = make_recipe(tiny_folder(family), three_classes, gains_and_biases(geometry))
    with pytest.raises(LossyExport, match="this one has no bias"):
        export(recipe, "peft", None, tmp_path)
    plain = make_recipe(tiny_folder(family), three_classes, gains(geometry))
    assert [file.name for file in export(plain, "peft", None, tmp_path)] == ["adapter_config.json"]


def test_weights_of_something_else_are_refused(tiny_folder, tiny_model, make_recipe, three_classes, tmp_path):
    folder, geometry = tiny_folder("bert"), describe_model(tiny_folder("bert")).geometry
    with Attachment(tiny_model("bert"), ia3(geometry), geometry) as attachment:
        save_file(attachment.state_dict(), tmp_path / "weights")
    recipe = make_recipe(folder, three_classes, lora(geometry))
    with pytest.raises(InvalidInput, match="trained tensors of another architecture or task"):
        export(recipe, "peft", tmp_path / "weights", tmp_path / "out")
    (tmp_path / "weights").write_text("no tensors")
    with pytest.raises(InvalidInput, match="not a safetensors file"):
        export(recipe, "peft", tmp_path / "weights", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_model_that_has_changed_is_refused(tiny_folder, make_recipe, three_classes, tmp_path):
    folder = tiny_folder("bert")
    recipe = make_recipe(folder, three_classes, gains(describe_model(folder).geometry))
    other = recipe.base_model.model_copy(update={"hash": "0" * 16})
    with pytest.raises(InvalidInput, match=f"its weights are {recipe.base_model.hash}; this was made for {'0' * 16}"):
        export(recipe.model_copy(update={"base_model": other}), "peft", None, tmp_path)
