"""What is written for AdapterHub's adapters: its own keys, and sizes that its arithmetic gives back.

``benchmarks/foreign_loaders.py`` lets adapters itself read such files, count, and compute with them.
"""

import json
from pathlib import Path

import pytest

from autopeft.architecture import Architecture, Placement
from autopeft.errors import LossyExport
from autopeft.exporters import EXPORTERS, export
from autopeft.messages import TaskSpec

KNOWN = json.loads(Path(__file__).with_name("known_keys.json").read_text())["adapters 1.3.0"]
WIDTH, LAYERS = 384, 6


def serial(layer, size, site="ffn", **options):
    return Placement("serial_adapter", site, layer, size, tuple(options.items()))


def parallel(layer, size, site="ffn", **options):
    return Placement("parallel_adapter", site, layer, size, tuple(options.items()))


def prefix(layer, size, **options):
    return Placement("prefix", "attention.kv", layer, size, tuple(options.items()))


def lora(layer, site, size=4, **options):
    return Placement("lora", site, layer, size, tuple(options.items()))


@pytest.fixture
def write(make_recipe, tmp_path):
    """``write(*placements)``: the document that is written for them, on MiniLM."""

    def make(*placements, allow_lossy=False):
        recipe = make_recipe("minilm", TaskSpec(name="docstrings"), Architecture(placements))
        (file,) = export(recipe, "adapters", None, tmp_path / "out", allow_lossy)
        return json.loads(file.read_text())

    return make


def configs(document):
    config = document["config"]
    return config["configs"] if config.get("architecture") == "union" else [config]


def sizes(config):
    """Return the bottleneck of every layer, as adapters 1.3.0 computes it."""
    factors = config["reduction_factor"]
    return {
        layer: int(
            WIDTH // (factors.get(str(layer), factors.get("default")) if isinstance(factors, dict) else factors)
        )
        for layer in range(LAYERS)
        if layer not in config["leave_out"]
    }


@pytest.mark.parametrize("kind", ["bottleneck", "lora", "prefix_tuning"])
def test_every_key_is_one_that_adapters_knows(kind, write):
    document = write(serial(0, 8), parallel(1, 8, "attention"), prefix(1, 3), lora(2, "attention.query"))
    assert document["version"] == EXPORTERS.get("adapters").tool.replace(" ", ".")
    mine = [config for config in configs(document) if config.get("architecture", "bottleneck") == kind]
    assert mine
    for config in mine:
        assert set(config) <= set(KNOWN[kind])


def test_every_size_comes_back_from_its_reduction_factor(write):
    for first in range(1, 600, LAYERS):
        wanted = {layer: first + layer for layer in range(LAYERS)}
        (config,) = configs(write(*(serial(layer, size) for layer, size in wanted.items())))
        assert sizes(config) == wanted


def test_layers_without_a_module_are_left_out(write):
    (config,) = configs(write(serial(1, 48), serial(4, 48)))
    assert config["leave_out"] == [0, 2, 3, 5]
    assert (config["reduction_factor"], config["output_adapter"], config["mh_adapter"]) == (8.0, True, False)


def test_a_mixed_winner_is_a_union(write):
    document = write(
        *(parallel(layer, 96, scale=2.0) for layer in range(3)),
        *(serial(layer, 24, "attention") for layer in range(3)),
        *(prefix(layer, 7) for layer in (0, 5)),
        *(lora(layer, site, 8, alpha=4.0) for layer in (3, 4) for site in ("attention.value", "ffn.in")),
    )
    after, beside, low_rank, before = configs(document)
    assert (beside["is_parallel"], beside["scaling"], beside["output_adapter"]) == (True, 2.0, True)
    assert (after["is_parallel"], after["mh_adapter"], sizes(after)) == (False, True, {0: 24, 1: 24, 2: 24})
    assert (low_rank["r"], low_rank["alpha"], low_rank["attn_matrices"]) == (8, 4.0, ["v"])
    assert (low_rank["intermediate_lora"], low_rank["output_lora"]) == (True, False)
    assert (before["prefix_length"], before["flat"], before["leave_out"]) == (7, True, [1, 2, 3, 4])


def test_biases_that_adapters_adds_are_a_loss_with_their_number(write):
    bare = [serial(layer, 16, bias=False) for layer in (0, 1)]
    with pytest.raises(LossyExport, match="have biases, these have none: 800 parameters more"):
        write(*bare)
    (loss,) = write(*bare, allow_lossy=True)["what is not as in the recipe"]
    assert "800 parameters more" in loss


def test_gates_are_a_loss(write):
    with pytest.raises(LossyExport, match="gates of prefix: adapters takes one for all tokens"):
        write(prefix(0, 3, gate=True))
    assert configs(write(prefix(0, 3, gate=True), allow_lossy=True))[0]["use_gating"] is True


@pytest.mark.parametrize(
    ("placements", "reason"),
    [
        ((), "only the task head is trained"),
        ((serial(2, 8), parallel(2, 8)), "one bottleneck at ffn of a layer; layer 2 has two"),
        ((prefix(0, 3), prefix(1, 4)), "one prefix length for all layers; here are 3, 4"),
        ((lora(0, "ffn.in", 2), lora(1, "ffn.in", 4)), "one rank and alpha for all LoRAs"),
        ((lora(0, "ffn.in"), lora(1, "ffn.out")), "the same linears in all layers"),
        ((lora(0, "attention.output"),), "no LoRA at attention.output"),
        ((Placement("bitfit", "ffn.in", 0),), "bitfit: not among what this format writes"),
    ],
)
def test_what_adapters_cannot_hold_is_refused_with_the_reason(placements, reason, write):
    with pytest.raises(LossyExport, match=reason):
        write(*placements, allow_lossy=True)


def test_models_that_normalise_elsewhere_are_refused(tiny_model, make_recipe, table, tmp_path):
    tiny_model("llama").save_pretrained(tmp_path / "llama")
    task = table("task.csv", [("text", "label"), *((f"row {i}", "ab"[i % 2]) for i in range(60))])
    recipe = make_recipe(str(tmp_path / "llama"), task, Architecture((serial(0, 8),)))
    with pytest.raises(LossyExport, match="adapters puts modules elsewhere in llama"):
        export(recipe, "adapters", None, tmp_path / "out", allow_lossy=True)
