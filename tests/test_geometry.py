import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.pytorch_utils import Conv1D

from autopeft.errors import InvalidInput
from autopeft.families import FAMILIES
from autopeft.geometry import ModelGeometry

# What the tables read besides the defaults: gated feed-forwards, unlike stacks, heads that do not fill the width.
VARIANTS = [
    *((family, {}) for family in sorted(FAMILIES)),
    ("gpt2", {"n_inner": None}),
    ("t5", {"feed_forward_proj": "gated-gelu"}),
    ("t5", {"num_layers": 1, "num_decoder_layers": 3}),
    ("llama", {"head_dim": 12}),
    ("llama", {"num_key_value_heads": None}),
    ("opt", {"do_layer_norm_before": False}),
]
every_variant = pytest.mark.parametrize(
    ("family", "changes"), VARIANTS, ids=["-".join([f, *map(str, c.values())]) for f, c in VARIANTS]
)
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


def linear_widths(module):
    """Input and output width of a linear; GPT-2's stores its weight transposed."""
    if isinstance(module, Conv1D):
        return tuple(module.weight.shape)
    assert isinstance(module, nn.Linear)
    return module.in_features, module.out_features


@every_variant
def test_every_site_is_a_module_of_the_real_model_with_these_widths(family, changes, tiny_config):
    config = tiny_config(family, **changes)
    geometry = ModelGeometry.from_config(config.to_dict())
    with torch.device("meta"):
        base = AutoModel.from_config(config)
    for site in geometry.sites:
        entry, exit = base.get_submodule(site.entry), base.get_submodule(site.exit)
        if site.kind == "linear":
            assert entry is exit
            assert linear_widths(exit) == (site.in_width, site.out_width), site
        elif site.kind == "sublayer":
            assert linear_widths(exit)[1] == site.in_width == site.out_width, site
        elif site.kind == "hidden":
            assert linear_widths(exit)[0] == site.out_width, site
        elif site.kind == "norm":
            assert entry is exit
            assert tuple(exit.weight.shape) == (site.in_width,) == (site.out_width,), site
        else:
            key = geometry.find(site.name.removesuffix("kv") + "key", site.layer)
            assert entry is exit and (key is None or key.out_width == site.out_width), site


@every_variant
def test_the_table_misses_no_layer_no_linear_and_no_norm(family, changes, tiny_config):
    config = tiny_config(family, **changes)
    geometry = ModelGeometry.from_config(config.to_dict())
    with torch.device("meta"):
        base = AutoModel.from_config(config)
    for kind, types in {"linear": ("Linear", "Conv1D"), "norm": ("Norm",)}.items():
        known = {site.exit for site in geometry.sites if site.kind == kind}
        numbered = {
            name
            for name, module in base.named_modules()
            if type(module).__name__.endswith(types) and any(part.isdigit() for part in name.split("."))
        }
        # Qwen3 normalises each head's queries and keys, and that is no representation of the layer.
        assert {name for name in numbered - known if not name.endswith(("q_norm", "k_norm"))} == set()


@every_family
def test_what_flows_through_every_site_has_its_widths(family, tiny_model, tiny_geometry, tiny_batch):
    model, geometry = tiny_model(family), tiny_geometry(family)
    into, out_of = {}, {}
    for path in {path for site in geometry.sites for path in (site.entry, site.exit)}:

        def keep(module, args, kwargs, output, path=path):
            into[path] = (args[0] if args else kwargs["hidden_states"]).shape[-1]
            out_of[path] = (output[0] if isinstance(output, tuple) else output).shape[-1]

        model.base_model.get_submodule(path).register_forward_hook(keep, with_kwargs=True)
    model(**tiny_batch(family))
    for site in geometry.sites:
        assert into[site.entry] == site.in_width, site
        found = {"hidden": into[site.exit], "kv": site.out_width}.get(site.kind, out_of[site.exit])
        assert found == site.out_width, site


@every_family
def test_a_sublayer_starts_at_its_entry_ends_at_its_exit_and_they_follow_in_the_order_of_the_sites(
    family, tiny_model, tiny_geometry, tiny_batch
):
    model, sublayers = tiny_model(family), [site for site in tiny_geometry(family).sites if site.kind == "sublayer"]
    happened = []
    for site in sublayers:
        entry, exit = model.base_model.get_submodule(site.entry), model.base_model.get_submodule(site.exit)
        entry.register_forward_pre_hook(lambda *_, site=site: happened.append(("starts", site.name, site.layer)))
        exit.register_forward_hook(lambda *_, site=site: happened.append(("ends", site.name, site.layer)))
    model(**tiny_batch(family))
    assert happened == [(what, site.name, site.layer) for site in sublayers for what in ("starts", "ends")]


@every_family
def test_norms_run_in_the_order_of_their_sites(family, tiny_model, tiny_geometry, tiny_batch):
    model, norms = tiny_model(family), [site.exit for site in tiny_geometry(family).sites if site.kind == "norm"]
    ran = []
    for path in norms:
        model.base_model.get_submodule(path).register_forward_hook(lambda *_, path=path: ran.append(path))
    model(**tiny_batch(family))
    assert ran == norms


@every_family
def test_places_are_unique_and_found_again(family, tiny_geometry):
    geometry = tiny_geometry(family)
    assert len({(site.name, site.layer) for site in geometry.sites}) == len(geometry.sites)
    assert all(geometry.site(site.name, site.layer) is site for site in geometry.sites)
    assert {site.layer for site in geometry.sites} == set(range(geometry.layers))
    assert set(geometry.site_names) == {site.name for site in geometry.sites}


def test_an_encoder_decoder_counts_the_encoders_layers_first(tiny_config):
    geometry = ModelGeometry.from_config(tiny_config("t5", num_layers=2, num_decoder_layers=3).to_dict())
    assert geometry.layers == 5
    assert geometry.site("attention.query", 1).exit == "encoder.block.1.layer.0.SelfAttention.q"
    assert geometry.site("attention.query", 2).exit == "decoder.block.0.layer.0.SelfAttention.q"
    assert geometry.find("cross_attention.query", 1) is None
    assert geometry.site("cross_attention.query", 4).exit == "decoder.block.2.layer.1.EncDecAttention.q"
    assert [site.layer for site in geometry.sites if site.name == "norm.final"] == [1, 4]


def test_an_unknown_model_type_is_refused_with_what_is_known():
    with pytest.raises(InvalidInput, match="model = 'mamba'.*bert, camembert.*llama.*xlm-roberta"):
        ModelGeometry.from_config(AutoConfig.for_model("mamba").to_dict())


def test_a_config_without_a_model_type_is_refused():
    with pytest.raises(InvalidInput, match="^model: .*AutoPEFT knows bert"):
        ModelGeometry.from_config({"hidden_size": 8})


def test_an_unknown_site_is_refused_with_the_nearest(tiny_geometry):
    with pytest.raises(InvalidInput, match=r"site of layer 1 = 'attention.querry'.*did you mean attention.query"):
        tiny_geometry("bert").site("attention.querry", 1)


def test_a_site_that_only_other_layers_have_is_refused(tiny_geometry):
    geometry = tiny_geometry("t5")
    with pytest.raises(InvalidInput, match="site of layer 0 = 'cross_attention.query'"):
        geometry.site("cross_attention.query", 0)


@pytest.mark.parametrize("layer", [2, -1])
def test_an_unknown_layer_is_refused_with_the_range(layer, tiny_geometry):
    with pytest.raises(InvalidInput, match=f"layer = {layer}: bert has layers 0 to 1"):
        tiny_geometry("bert").site("attention.query", layer)


LIMITED = {"bert": 64, "roberta": 62, "xlm-roberta": 62, "camembert": 62, "electra": 64, "deberta-v2": 64}
LIMITED |= {"distilbert": 512, "gpt2": 64, "opt": 64}  # 512 is its config's default


@pytest.mark.parametrize("family", LIMITED)
def test_a_model_takes_as_many_tokens_as_it_has_positions_and_no_more(family, tiny_geometry, tiny_model, tiny_batch):
    most = tiny_geometry(family).positions
    assert most == LIMITED[family]
    model = tiny_model(family)
    with torch.no_grad():
        assert model(**tiny_batch(family, (most,))).logits.isfinite().all()
        with pytest.raises((IndexError, RuntimeError)):
            model(**tiny_batch(family, (most + 1,)))


@pytest.mark.parametrize(
    ("family", "changes", "most"),
    [("t5", {}, None), ("mt5", {}, None), ("deberta-v2", {"position_biased_input": False}, None), ("llama", {}, 64)],
)
def test_relative_positions_have_no_end_and_rotary_ones_that_of_the_training(family, changes, most, tiny_config):
    assert ModelGeometry.from_config(tiny_config(family, **changes).to_dict()).positions == most
