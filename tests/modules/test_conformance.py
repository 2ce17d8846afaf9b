"""The contract of a module type, held by every registered one at every site that it accepts in three families."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoConfig

from autopeft.architecture import Architecture, Placement
from autopeft.families import FAMILIES
from autopeft.geometry import ModelGeometry, Site
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.modules.count import count_parameters
from autopeft.modules.plan import full_options, option_problem
from autopeft.modules.prefix import Prefix
from autopeft.modules.weights import head_parameters
from autopeft.samplers.features import Features

THREE = ("bert", "llama", "t5")
TYPES = MODULE_TYPES.all()
close = torch.testing.assert_close


def sites_of(family):
    """Each site's name and kind; the family's default config has the same as a tiny one."""
    geometry = ModelGeometry.from_config(AutoConfig.for_model(family).to_dict())
    return {site.name: site.kind for site in geometry.sites}


PLAIN, GATED = (), (("gate", True),)


def options_of(module):
    """The options that every test holds a module type with."""
    return [PLAIN, GATED] if "gate" in TYPES[module].options else [PLAIN]


PLACES = [
    pytest.param(family, module, site, options, id=f"{family}-{module}-{site}{'-gated' if options else ''}")
    for family in THREE
    for module, module_type in TYPES.items()
    for site, kind in sites_of(family).items()
    if kind in module_type.kinds
    for options in options_of(module)
]
at_every_place = pytest.mark.parametrize(("family", "module", "site", "options"), PLACES)


def in_all_layers(geometry, module, site, options=PLAIN):
    size = 6 if TYPES[module].sized else 0
    return tuple(Placement(module, s.name, s.layer, size, options) for s in geometry.sites if s.name == site)


def everything(geometry, options=PLAIN):
    """Every module type at every site of every layer that it accepts, all at once; one type for keys and values."""
    first = next(name for name, t in TYPES.items() if "kv" in t.kinds)
    return Architecture(
        tuple(
            p
            for module, module_type in TYPES.items()
            for site in geometry.site_names
            if geometry.find(site, geometry.layers - 1).kind in module_type.kinds
            if module == first or "kv" not in module_type.kinds
            for p in in_all_layers(geometry, module, site, options if options in options_of(module) else PLAIN)
        )
    )


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def perturb(attachment, seed=5):
    """Move everything that trains away from where it starts, as training would."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameters in attachment.parameter_groups().values():
            for parameter in parameters:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=random))


def train(attachment, batch, steps):
    """A few steps of AdamW; return the losses."""
    optimizer = torch.optim.AdamW([p for group in attachment.parameter_groups().values() for p in group], lr=5e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(attachment.model(**batch).logits, batch["labels"])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model, before):
    after = model.state_dict()
    assert list(after) == list(before)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert [name for name in before if before[name].dtype != after[name].dtype] == []


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@at_every_place
def test_a_fresh_module_changes_the_output_only_where_its_type_says_so(
    family, module, site, options, tiny_model, tiny_geometry, tiny_batch
):
    model, geometry, batch = tiny_model(family), tiny_geometry(family), tiny_batch(family, (5, 7, 3))
    with Attachment(model, Architecture(), geometry, seed=3):
        head_only = logits(model, batch)
    with Attachment(
        model, Architecture(in_all_layers(geometry, module, site, options)), geometry, seed=3
    ) as attachment:
        fresh = logits(model, batch)
        assert torch.equal(fresh, head_only) == TYPES[module].identity
        perturb(attachment)
        assert (logits(model, batch) - fresh).abs().max() > 1e-3


@at_every_place
def test_gradients_reach_all_of_the_module_and_the_head_and_nothing_else(
    family, module, site, options, tiny_model, tiny_geometry, tiny_batch
):
    model, geometry, batch = tiny_model(family), tiny_geometry(family), tiny_batch(family)
    attachment = Attachment(model, Architecture(in_all_layers(geometry, module, site, options)), geometry)
    train(attachment, batch, steps=1)  # what starts at zero has moved, so that it lets gradients through
    for parameter in attachment.modules.parameters():
        parameter.grad = None
    functional.cross_entropy(model(**batch).logits, batch["labels"]).backward()

    head = {id(parameter) for parameter in attachment.head.values()}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (id(parameter) in head), name
        assert (parameter.grad is not None) == (id(parameter) in head), name
    for name, parameter in attachment.modules.named_parameters():
        assert parameter.requires_grad and parameter.grad is not None, name
        if not shifts_every_score_alike(family, module, site):
            assert parameter.grad.abs().max() > 1e-9, name


def shifts_every_score_alike(family, module, site):
    """A bias of all keys adds the same to all scores of a query, which softmax takes out; rotation undoes that."""
    return module == "bitfit" and site.endswith(".key") and family != "llama"


@at_every_place
def test_the_count_is_the_formulas_and_that_of_what_is_attached(
    family, module, site, options, tiny_model, tiny_geometry
):
    geometry = tiny_geometry(family)
    architecture = Architecture(in_all_layers(geometry, module, site, options))
    formula = sum(
        TYPES[module].count(geometry.site(p.site, p.layer), p.size, full_options(p)) for p in architecture.placements
    )
    attachment = Attachment(tiny_model(family), architecture, geometry)
    assert formula == count_parameters(architecture, geometry)
    assert formula == sum(parameter.numel() for parameter in attachment.modules.parameters())
    assert formula == sum(parameter.numel() for parameter in attachment.parameter_groups()[module])


@at_every_place
def test_the_count_is_linear_in_the_size(family, module, site, options, tiny_geometry):
    if TYPES[module].sized:
        geometry = tiny_geometry(family)
        at, filled = geometry.site(site, geometry.layers - 1), TYPES[module].options | dict(options)
        for size in (1, 7):
            one, two, three = (TYPES[module].count(at, times * size, filled) for times in (1, 2, 3))
            assert three - two == two - one > 0


EXTREMES = {bool: (False, True), int: (1, 2**40), float: (-1e300, -1.0, 0.0, 1e-300, 1.0, 1e300), str: ("", "relu")}


@pytest.mark.parametrize("module", TYPES)
def test_every_value_that_an_option_may_have_is_seen_by_the_models_of_scores(module, tiny_geometry):
    geometry = tiny_geometry("bert")
    features, site = Features(geometry), next(s for s in geometry.sites if s.kind in TYPES[module].kinds)
    for option, default in TYPES[module].options.items():
        values = [v for v in EXTREMES[type(default)] if option_problem(option, TYPES[module], option, v) is None]
        assert len(values) > 1
        for value in values:
            placement = Placement(module, site.name, site.layer, int(TYPES[module].sized) * 4, ((option, value),))
            found = features.of(Architecture((placement,)))
            assert len(found) == len(features.names) and all(map(math.isfinite, found))


def test_options_that_are_text_and_numbers_below_zero_are_no_obstacle_to_the_models_of_scores(register, tiny_geometry):
    options = {"activation": "relu", "shift": -0.5}
    name = register("brand_new", replace(TYPES["bitfit"], options=options))
    features = Features(tiny_geometry("bert"))
    assert f"{name} shift" in features.names and f"{name} activation" not in features.names

    def of(**options):
        placement = Placement(name, "ffn.in", 0, 0, tuple(options.items()))
        return dict(zip(features.names, features.of(Architecture((placement,))), strict=True))[f"{name} shift"]

    assert of(shift=-4.0) < of() < of(shift=0.0) < of(shift=4.0) and of(activation="gelu") == of()


@pytest.mark.parametrize("module", [name for name, t in TYPES.items() if "kv" in t.kinds])
def test_a_type_for_keys_and_values_is_for_nothing_else_and_makes_prefixes(module):
    assert TYPES[module].kinds == {"kv"}
    for options in options_of(module):
        site = Site("attention.kv", 0, "kv", "", "", 8, 8)
        assert isinstance(TYPES[module].build(site, 4, TYPES[module].options | dict(options)), Prefix)


@at_every_place
def test_detaching_leaves_no_trace_and_loading_elsewhere_gives_the_same(
    family, module, site, options, tiny_model, tiny_geometry, tiny_batch, tmp_path
):
    model, geometry, batch = tiny_model(family), tiny_geometry(family), tiny_batch(family, (5, 7, 3))
    architecture = Architecture(in_all_layers(geometry, module, site, options))
    state, before, implementation = snapshot(model), logits(model, batch), model.config._attn_implementation

    attachment = Attachment(model, architecture, geometry)
    train(attachment, batch, steps=2)
    trained = logits(model, batch)
    save_file(attachment.state_dict(), tmp_path / "trained.safetensors")
    attachment.detach()
    attachment.detach()  # twice is fine

    assert_untouched(model, state)
    assert torch.equal(logits(model, batch), before)
    assert hooks_of(model) == 0
    assert model.config._attn_implementation == implementation
    assert {m.config._attn_implementation for m in model.modules() if hasattr(m, "config")} == {implementation}

    other = tiny_model(family)
    loaded = Attachment(other, architecture, geometry, seed=99)
    assert not torch.equal(logits(other, batch), trained)
    loaded.load_state_dict(load_file(tmp_path / "trained.safetensors"))
    assert torch.equal(logits(other, batch), trained)


@at_every_place
def test_right_padding_does_not_change_a_sentences_logits(
    family, module, site, options, tiny_model, tiny_geometry, tiny_batch
):
    model, geometry, batch = tiny_model(family), tiny_geometry(family), tiny_batch(family, (4, 7, 2), "right")
    attachment = Attachment(model, Architecture(in_all_layers(geometry, module, site, options)), geometry)
    perturb(attachment)
    together = logits(model, batch)
    for row, mask in enumerate(batch["attention_mask"].bool()):
        alone = logits(model, {"input_ids": batch["input_ids"][row][mask][None]})
        close(together[row], alone[0], atol=1e-5, rtol=1e-5)


@at_every_place
def test_left_padding_does_not_change_a_sentences_hidden_states(
    family, module, site, options, tiny_model, tiny_geometry, tiny_batch
):
    # Not the logits: BERT's head reads the first place, and T5's classifier feeds its decoder the padding unmasked.
    model, geometry, batch = tiny_model(family), tiny_geometry(family), tiny_batch(family, (4, 7, 2), "left")
    attachment = Attachment(model, Architecture(in_all_layers(geometry, module, site, options)), geometry)
    perturb(attachment)

    def hidden(ids, mask):
        if family == "t5":
            more = {"decoder_input_ids": torch.tensor([[0, 8, 9]]).expand(len(ids), -1)}
        else:  # positions are counted from the sentence's first token, as `generate` does
            more = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        with torch.no_grad():
            return model.base_model(input_ids=ids, attention_mask=mask, **more).last_hidden_state

    together = hidden(batch["input_ids"], batch["attention_mask"])
    for row, mask in enumerate(batch["attention_mask"].bool()):
        ids = batch["input_ids"][row][mask][None]
        seen = together[row] if family == "t5" else together[row][mask]
        close(seen, hidden(ids, torch.ones_like(ids))[0], atol=1e-5, rtol=1e-5)


@at_every_place
def test_a_bfloat16_base_computes_nearly_the_same_and_trains_float32_modules(
    family, module, site, options, tiny_model, tiny_geometry, tiny_batch
):
    geometry, batch = tiny_geometry(family), tiny_batch(family, (5, 7, 3))
    results, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_model(family, dtype)
        attachment = Attachment(model, Architecture(in_all_layers(geometry, module, site, options)), geometry)
        perturb(attachment)
        result = model(**batch).logits
        functional.cross_entropy(result.float(), batch["labels"]).backward()
        for parameters in attachment.parameter_groups().values():
            assert all(p.dtype == torch.float32 and p.grad.isfinite().all() for p in parameters)
        results.append(result.detach().float())
        gradients.append(torch.cat([p.grad.flatten() for p in attachment.modules.parameters()]))
        dtypes = {tensor.dtype for tensor in attachment.state_dict().values()}
        attachment.detach()
        assert dtypes == {torch.float32}
        assert {p.dtype for p in head_parameters(model).values()} == {dtype}
    scale = results[0].abs().max().item()
    close(results[1], results[0], atol=0.05 * scale, rtol=0.05)
    if not shifts_every_score_alike(family, module, site):
        assert functional.cosine_similarity(*gradients, dim=0) > 0.95


@pytest.mark.parametrize("options", [PLAIN, GATED], ids=["plain", "gated"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_all_types_everywhere_at_once_train_together_and_come_off_cleanly(
    family, options, tiny_model, tiny_geometry, tiny_batch
):
    model, geometry, batch = tiny_model(family), tiny_geometry(family), tiny_batch(family)
    state, before = snapshot(model), logits(model, batch)
    architecture = everything(geometry, options)
    attachment = Attachment(model, architecture, geometry)
    assert count_parameters(architecture, geometry) == sum(p.numel() for p in attachment.modules.parameters())

    losses = train(attachment, batch, steps=8)
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in attachment.modules.parameters())

    attachment.detach()
    assert_untouched(model, state)
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize("family", THREE)
def test_architectures_follow_each_other_on_one_model_as_on_fresh_ones(family, tiny_model, tiny_geometry, tiny_batch):
    geometry, batch = tiny_geometry(family), tiny_batch(family)
    lora = Architecture(in_all_layers(geometry, "lora", "attention.query"))
    resident = tiny_model(family)
    with Attachment(resident, everything(geometry), geometry, seed=1) as attachment:
        train(attachment, batch, steps=1)
    with Attachment(resident, lora, geometry, seed=2) as attachment:
        losses = train(attachment, batch, steps=2)
    assert losses == train(Attachment(tiny_model(family), lora, geometry, seed=2), batch, steps=2)


def test_the_head_starts_alike_whatever_is_attached_beside_it_and_the_seed_decides(tiny_model, tiny_geometry):
    geometry = tiny_geometry("bert")

    def head(architecture, seed):
        with Attachment(tiny_model("bert"), architecture, geometry, seed) as attachment:
            return attachment.state_dict()["head.classifier.weight"]

    assert torch.equal(head(Architecture(), 4), head(everything(geometry), 4))
    assert not torch.equal(head(Architecture(), 4), head(Architecture(), 5))


def test_attaching_draws_nothing_from_the_global_random_numbers(tiny_model, tiny_geometry):
    geometry = tiny_geometry("bert")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Attachment(tiny_model("bert"), everything(geometry), geometry)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_inside_the_base_is_off(tiny_model, tiny_geometry, tiny_batch):
    model, geometry, batch = tiny_model("bert").train(), tiny_geometry("bert"), tiny_batch("bert")
    Attachment(model, Architecture(), geometry)
    assert model.config.hidden_dropout_prob > 0
    assert torch.equal(logits(model, batch), logits(model, batch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.classifier.bias"), r"do not fit: \['head.classifier.bias'\]"),
        (lambda state: state.update({"modules.x": torch.zeros(1)}), r"do not fit: \['modules.x'\]"),
        (lambda state: state.update({"head.classifier.bias": torch.zeros(9)}), r"shape \(9,\) does not fit \(3,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change, message, tiny_model, tiny_geometry):
    geometry = tiny_geometry("bert")
    attachment = Attachment(
        tiny_model("bert"), Architecture(in_all_layers(geometry, "lora", "attention.query")), geometry
    )
    state = attachment.state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        attachment.load_state_dict(state)


def test_the_state_is_a_copy_that_later_steps_do_not_change(tiny_model, tiny_geometry, tiny_batch):
    geometry = tiny_geometry("bert")
    attachment = Attachment(tiny_model("bert"), everything(geometry), geometry)
    state = attachment.state_dict()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    train(attachment, tiny_batch("bert"), steps=1)
    assert all(torch.equal(state[name], kept[name]) for name in kept)


@pytest.mark.parametrize(
    ("module", "options"),
    [(name, options) for name, t in TYPES.items() if "kv" not in t.kinds for options in options_of(name)],
)
@torch.no_grad()
def test_a_sequential_type_reads_h_alone_and_a_parallel_one_adds_what_it_reads_from_x(module, options):
    module_type = TYPES[module]
    random = torch.Generator().manual_seed(0)
    for kind in module_type.kinds:
        placement = Placement(module, "site", 0, int(module_type.sized) * 4, options)
        delta = module_type.build(Site("site", 0, kind, "", "", 8, 8), placement.size, full_options(placement))
        for parameter in delta.parameters():
            parameter.normal_(generator=random)
        x, other_x, h, other_h = torch.randn(4, 5, 8, generator=random)
        if module_type.sequential:
            assert torch.equal(delta(x, h), delta(other_x, h))
        else:
            close(delta(x, h) - h, delta(x, other_h) - other_h, atol=1e-4, rtol=1e-4)


# How deltas at one site compose, on BERT's second layer, by hand.


@pytest.fixture
def bert_ffn(tiny_model, tiny_geometry, tiny_batch):
    """``bert_ffn(*placements)``: the attachment, and the input, the hidden state and the output of the FFN."""

    def attach(*placements):
        model = tiny_model("bert")
        attachment = Attachment(model, Architecture(placements), tiny_geometry("bert"))
        perturb(attachment)
        seen = {}
        layer = model.base_model.encoder.layer[1]
        layer.intermediate.register_forward_pre_hook(lambda m, args: seen.update(x=args[0]))
        layer.output.dense.register_forward_pre_hook(lambda m, args: seen.update(hidden=args[0]))
        layer.output.dense.register_forward_hook(lambda m, args, out: seen.update(h=out))
        logits(model, tiny_batch("bert"))
        modules = [attachment.modules[p.key] for p in placements]
        plain_hidden = functional.gelu(layer.intermediate.dense(seen["x"]))
        return modules, seen, plain_hidden, layer.output.dense

    return attach


def linear_by_hand(linear, z):
    return z @ linear.weight.T + linear.bias


def bottleneck_by_hand(bottleneck, z):
    return linear_by_hand(bottleneck.up, linear_by_hand(bottleneck.down, z).relu())


@torch.no_grad()
def test_a_parallel_adapter_reads_the_sublayers_input_and_a_serial_one_the_changed_output(bert_ffn):
    (serial, parallel), seen, hidden, dense = bert_ffn(
        Placement("serial_adapter", "ffn", 1, 5), Placement("parallel_adapter", "ffn", 1, 6, (("scale", 0.5),))
    )
    h = linear_by_hand(dense, hidden) + 0.5 * bottleneck_by_hand(parallel.bottleneck, seen["x"])
    close(seen["h"], h + bottleneck_by_hand(serial.bottleneck, h), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_low_rank_adapters_matrices_are_the_products_of_their_factors(bert_ffn):
    (adapter,), seen, hidden, dense = bert_ffn(Placement("low_rank_adapter", "ffn", 1, 5, (("rank", 3),)))
    h = linear_by_hand(dense, hidden)
    down, up = (layer.left @ layer.right for layer in (adapter.down, adapter.up))
    assert down.shape == (32, 5) and up.shape == (5, 32)
    inner = functional.gelu(h @ down + adapter.down.bias, approximate="tanh")
    close(seen["h"], h + inner @ up + adapter.up.bias, atol=1e-5, rtol=1e-5)


def gate_by_hand(gate, z):
    return (z @ (gate.weight.T * gate.pace) + gate.bias * gate.pace).sigmoid()


@torch.no_grad()
def test_a_gate_multiplies_what_its_own_module_adds_and_reads_what_that_reads(bert_ffn):
    parallel_options = (("gate", True), ("scale", 0.5))
    (serial, low_rank, parallel, lora), seen, hidden, dense = bert_ffn(
        Placement("serial_adapter", "ffn", 1, 5, GATED),
        Placement("low_rank_adapter", "ffn", 1, 5, GATED),
        Placement("parallel_adapter", "ffn", 1, 6, parallel_options),
        Placement("lora", "ffn.out", 1, 4, GATED),
    )
    x, h = seen["x"], linear_by_hand(dense, hidden)
    h = h + gate_by_hand(lora.gate, hidden) * 2 * (hidden @ lora.a.T @ lora.b.T)
    h = h + gate_by_hand(parallel.gate, x) * 0.5 * bottleneck_by_hand(parallel.bottleneck, x)
    h = h + gate_by_hand(low_rank.gate, h) * low_rank.up(functional.gelu(low_rank.down(h), approximate="tanh"))
    h = h + gate_by_hand(serial.gate, h) * bottleneck_by_hand(serial.bottleneck, h)
    close(seen["h"], h, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_ia3_on_the_ffns_hidden_scales_what_the_next_linear_and_its_lora_read(bert_ffn):
    (ia3, lora), seen, hidden, dense = bert_ffn(
        Placement("ia3", "ffn.hidden", 1), Placement("lora", "ffn.out", 1, 4, (("alpha", 6.0),))
    )
    scaled = hidden * ia3.scale
    update = scaled @ lora.a.T @ lora.b.T
    close(seen["h"], linear_by_hand(dense, scaled) + 6.0 / 4 * update, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_ia3_scales_a_linears_output_after_lora_and_the_bias_were_added(bert_ffn):
    (ia3, lora, bitfit), seen, hidden, dense = bert_ffn(
        Placement("ia3", "ffn.out", 1), Placement("lora", "ffn.out", 1, 4), Placement("bitfit", "ffn.out", 1)
    )
    update = hidden @ lora.a.T @ lora.b.T * 2  # alpha is twice the rank by default
    expected = (linear_by_hand(dense, hidden) + update + bitfit.shift) * ia3.scale
    close(seen["h"], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_linear_inside_a_sublayer_is_changed_before_the_sublayer(bert_ffn):
    (serial, lora), seen, hidden, dense = bert_ffn(
        Placement("serial_adapter", "ffn", 1, 5), Placement("lora", "ffn.out", 1, 4)
    )
    h = linear_by_hand(dense, hidden) + 2 * (hidden @ lora.a.T @ lora.b.T)
    close(seen["h"], h + bottleneck_by_hand(serial.bottleneck, h), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_norms_gain_and_bias_are_changed_after_the_shift(tiny_model, tiny_geometry, tiny_batch):
    model = tiny_model("bert")
    placements = (
        Placement("layer_norm", "norm.ffn", 1, 0, (("bias", True),)),
        Placement("bitfit", "norm.ffn", 1),
    )
    attachment = Attachment(model, Architecture(placements), tiny_geometry("bert"))
    perturb(attachment)
    affine, bitfit = (attachment.modules[p.key] for p in placements)
    seen = {}
    norm = model.base_model.encoder.layer[1].output.LayerNorm
    norm.register_forward_hook(lambda m, args, out: seen.update(x=args[0], h=out))
    logits(model, tiny_batch("bert"))
    plain = functional.layer_norm(seen["x"], (32,), norm.weight, norm.bias, norm.eps)
    close(seen["h"], (plain + bitfit.shift) * affine.scale + affine.shift, atol=1e-5, rtol=1e-5)
