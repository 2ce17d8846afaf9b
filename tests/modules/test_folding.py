"""Folding: every module type that says how computes the same folded, in every family, and what cannot be is named."""

import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.families import FAMILIES
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.modules.base import CannotFold
from autopeft.modules.folding import fold, fold_units
from tests.modules.test_conformance import GATED, everything, hooks_of, in_all_layers, logits, perturb

FOLDABLE = [name for name, module_type in MODULE_TYPES.all().items() if module_type.fold is not None]
close = torch.testing.assert_close


def has_bias(model, geometry, site):
    layer = model.base_model.get_submodule(geometry.site(site, geometry.layers - 1).exit)
    return getattr(layer, "bias", None) is not None


def foldable(module, model, geometry):
    """By site, placements of a type that fold there: a shift needs a bias to go into."""
    for site in geometry.site_names:
        biased = has_bias(model, geometry, site)
        options = {"layer_norm": (("bias", True),) if biased else (), "lora": (("alpha", 3.0),)}
        fits = geometry.site(site, geometry.layers - 1).kind in MODULE_TYPES.get(module).kinds
        if fits and (module != "bitfit" or biased):
            yield in_all_layers(geometry, module, site, options.get(module, ()))


def fold_and_compare(model, geometry, batch, placements, seed=5):
    attachment = Attachment(model, Architecture(placements), geometry)
    perturb(attachment, seed)
    trained = logits(model, batch)
    assert fold(attachment) == {}
    assert hooks_of(model) == 0
    close(logits(model, batch), trained, atol=1e-4, rtol=1e-4)
    return trained


def test_there_are_types_that_fold_and_types_that_do_not():
    assert {"lora", "ia3", "bitfit", "layer_norm"} <= set(FOLDABLE)
    assert not {"prefix", "serial_adapter", "parallel_adapter", "low_rank_adapter"} & set(FOLDABLE)


@pytest.mark.parametrize("module", FOLDABLE)
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_folded_module_computes_the_same_at_each_of_its_sites(family, module, tiny_model, tiny_geometry, tiny_batch):
    geometry, batch = tiny_geometry(family), tiny_batch(family, (5, 7, 3))
    places = list(foldable(module, tiny_model(family), geometry))
    assert places or (module == "bitfit" and family in {"llama", "mistral", "qwen3", "t5", "mt5"})
    for placements in places:
        fold_and_compare(tiny_model(family), geometry, batch, placements)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_all_of_them_at_once_fold_in_the_order_in_which_they_are_applied(
    family, tiny_model, tiny_geometry, tiny_batch
):
    model, geometry = tiny_model(family), tiny_geometry(family)
    placements = tuple(
        placement
        for module in FOLDABLE
        for placements in foldable(module, model, geometry)
        for placement in placements
    )
    batch = tiny_batch(family, (5, 7, 3))
    untrained = logits(model, batch)
    trained = fold_and_compare(model, geometry, batch, placements)
    assert (trained - untrained).abs().max() > 0.1


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_cannot_be_folded_is_known_without_weights_and_has_its_reason(family, tiny_model, tiny_geometry):
    model, geometry = tiny_model(family), tiny_geometry(family)
    architecture = everything(geometry, GATED)
    refused = fold(Attachment(model.to("meta"), architecture, geometry))
    for placement in architecture.placements:
        reason = refused.get(placement.key, "")
        if MODULE_TYPES.get(placement.module).fold is None:
            assert "no part of a linear or a norm" in reason
        elif placement.module == "lora":
            assert "gate" in reason
        elif placement.module == "bitfit" and not has_bias(model, geometry, placement.site):
            assert "no bias" in reason
        else:
            assert reason == "", placement.key


HEADS_WITHOUT_A_BIAS = {"gpt2", "opt", "llama", "mistral", "qwen2", "qwen3"}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_regressions_units_fold_into_the_head_where_it_has_a_bias(family, tiny_model, tiny_batch):
    model, batch = tiny_model(family), tiny_batch(family, (5, 7, 3))
    before = logits(model, batch)
    if family in HEADS_WITHOUT_A_BIAS:
        with pytest.raises(CannotFold, match="no bias"):
            fold_units(model, 3.0, 1000.0)
        return
    fold_units(model, 3.0, 1000.0)
    close(logits(model, batch), before * 3 + 1000, atol=1e-3, rtol=1e-5)


def test_a_placement_on_one_layer_leaves_the_others_alone(tiny_model, tiny_geometry):
    model, untouched, geometry = tiny_model("bert"), tiny_model("bert"), tiny_geometry("bert")
    attachment = Attachment(model, Architecture((Placement("ia3", "ffn.hidden", 1),)), geometry)
    perturb(attachment)
    head = set(attachment.head)
    fold(attachment)
    before = untouched.state_dict()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed - head == {"bert.encoder.layer.1.output.dense.weight"}
