"""Stored hidden states: the same function as computing them, in every family, and nothing breaks without them."""

import os

import pytest
import torch

from autopeft.architecture import Architecture, Placement
from autopeft.families import FAMILIES
from autopeft.messages import Fidelity, TrainingSettings
from autopeft.modules import MODULE_TYPES
from autopeft.modules.attach import Attachment
from autopeft.modules.attention import IMPLEMENTATION
from tests.modules.test_conformance import in_all_layers, options_of, sites_of
from workers import activations, devices, first_token, proxy
from workers import shelf as shelves
from workers.activations import Trunk, plain
from workers.data import EncodedSplit
from workers.evaluation import predict_logits
from workers.first_token import FirstToken
from workers.settled import settled
from workers.shelf import Shelf
from workers.training import train

LENGTHS = (9, 3, 7, 5, 9, 4, 6, 8, 3, 5)
PLENTY = 10**9


def rows(config, lengths=LENGTHS, segments=False):
    random = torch.Generator().manual_seed(1)
    ids = [torch.randint(5, config.vocab_size, (length,), generator=random).tolist() for length in lengths]
    if config.is_encoder_decoder:
        ids = [[*row[:-1], config.eos_token_id] for row in ids]
    kinds = [[int(place >= 2) for place in range(length)] for length in lengths] if segments else None
    return EncodedSplit(ids, kinds, torch.arange(len(ids)) % 3, config.pad_token_id)


def in_last_layer(geometry):
    """Every module type somewhere in the last layer, and nothing below it."""
    placements = []
    for module, module_type in MODULE_TYPES.all().items():
        site = next(
            (s for s in geometry.sites if s.layer == geometry.layers - 1 and s.kind in module_type.kinds), None
        )
        if site is not None:
            placements.append(Placement(module, site.name, site.layer, 4 if module_type.sized else 0))
    return Architecture(tuple(placements))


def attach(tiny_model, tiny_geometry, family, architecture=None):
    geometry, model = tiny_geometry(family), tiny_model(family)
    if any(site.kind == "kv" for site in geometry.sites):  # as a model is loaded
        model.set_attn_implementation(IMPLEMENTATION)
    attachment = Attachment(model, architecture or in_last_layer(geometry), geometry, 3)
    random = torch.Generator().manual_seed(5)
    for parameter in attachment.modules.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=random))
    return attachment


def above(tiny_model, tiny_geometry, boundary):
    """A model of two layers on which nothing is attached below a boundary."""
    placements = (Placement("lora", "attention.query", boundary, 2),) if boundary < 2 else ()
    return Attachment(tiny_model("bert"), Architecture(placements), tiny_geometry("bert"))


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_states_give_the_logits_of_the_whole_model(tiny_model, tiny_geometry, tiny_config, family):
    with attach(tiny_model, tiny_geometry, family) as attachment:
        split = rows(tiny_config(family), segments=family == "bert")
        shelf = Shelf(PLENTY, 0)
        forward = Trunk(attachment, shelf).forward(split)
        expected = predict_logits(attachment.model, split, 4)
        assert attachment.boundary == attachment.geometry.layers - 1
        stored = family not in ("t5", "mt5")  # a decoder reads its encoder, and layers hand position biases on
        assert (shelf.find(split, attachment.geometry.layer_paths[-2]) is not None) == stored
        torch.testing.assert_close(predict_logits(attachment.model, split, 4, forward), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("module", MODULE_TYPES.names)
def test_training_on_stored_states_learns_the_same(tiny_model, tiny_geometry, tiny_config, module):
    geometry, split = tiny_geometry("bert"), rows(tiny_config("bert"))
    module_type = MODULE_TYPES.get(module)
    site = next(s for s in geometry.sites if s.layer == 1 and s.kind in module_type.kinds)
    architecture = Architecture((Placement(module, site.name, 1, 4 if module_type.sized else 0),))
    learned = []
    for shelf in (Shelf(0, 0), Shelf(PLENTY, 0)):
        with attach(tiny_model, tiny_geometry, "bert", architecture) as attachment:
            settings, fidelity = TrainingSettings(batch_size=4), Fidelity(epochs=4, evaluations=1)
            forward = Trunk(attachment, shelf).forward(split)
            train(attachment, split, "classification", settings, fidelity, 0, lambda: 0.0, forward=forward)
            learned.append(attachment.state_dict())
    assert learned[0].keys() == learned[1].keys()
    for name, tensor in learned[0].items():
        torch.testing.assert_close(learned[1][name], tensor, atol=1e-4, rtol=1e-3)


# The module type at each kind of site, and what of the lowest layer is the same whatever it trains there.
CHANGED_BY = {"linear": "lora", "hidden": "ia3", "sublayer": "serial_adapter", "norm": "layer_norm", "kv": "prefix"}
PARTS = [
    pytest.param(family, site, layer, id=f"{family}-{site}-{layer}")
    for family in FAMILIES
    for site in sites_of(family)
    for layer in (0, 1)
]


@pytest.mark.parametrize(("family", "site", "layer"), PARTS)
def test_what_comes_before_the_lowest_module_in_its_layer_is_stored_and_changes_nothing(
    tiny_model, tiny_geometry, tiny_config, family, site, layer
):
    geometry, split = tiny_geometry(family), rows(tiny_config(family))
    kind = sites_of(family)[site]
    size = 0 if kind in ("hidden", "norm") else 4
    placements = [
        Placement(CHANGED_BY[kind], site, at, size)
        for at in range(layer, geometry.layers)
        if geometry.find(site, at) is not None
    ]
    with attach(tiny_model, tiny_geometry, family, Architecture(tuple(placements))) as attachment:
        batch = split.batch([0, 1, 2, 3])
        leaves = [*attachment.modules.parameters(), *attachment.head.values()]
        expected, found = (
            [logits, *torch.autograd.grad(logits.square().sum(), leaves, allow_unused=True)]
            for logits in (plain(attachment.model)(batch), Trunk(attachment, Shelf(PLENTY, 0)).forward(split)(batch))
        )
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)


def parts_of(attachment):
    """What is settled in the lowest layer, by the ends of the modules' paths."""
    own = f"encoder.layer.{attachment.boundary}."
    return [one.path.removeprefix(own) for one in settled(attachment) if one.path.startswith(own)]


READ = [f"attention.self.{name}" for name in ("query", "key", "value")]
ATTENDED = ["attention.output.dense"]


@pytest.mark.parametrize(
    ("sites", "parts"),
    [
        (["norm.attention"], []),
        (["attention.query"], READ),
        (["attention.kv"], READ),
        (["attention"], READ),
        (["attention.output", "ffn"], READ),
        (["ffn.in"], ATTENDED),
        (["ffn.hidden", "ffn"], ATTENDED),
        (["norm.ffn"], ATTENDED),
        (["ffn.out"], ATTENDED),
        (["ffn"], [*ATTENDED, "output.dense"]),
    ],
)
@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_site_with_a_module_decides_what_is_settled(tiny_model, tiny_geometry, sites, parts, layer):
    kinds = sites_of("bert")
    placements = [
        Placement(CHANGED_BY[kinds[site]], site, layer, 0 if kinds[site] in ("hidden", "norm") else 4)
        for site in sites
    ]
    with attach(tiny_model, tiny_geometry, "bert", Architecture(tuple(placements))) as attachment:
        assert parts_of(attachment) == parts


def test_what_is_settled_is_not_computed(tiny_model, tiny_geometry, tiny_config, monkeypatch):
    placements = (Placement("serial_adapter", "ffn", 1, 4), Placement("parallel_adapter", "ffn", 1, 4))
    with attach(tiny_model, tiny_geometry, "bert", Architecture(placements)) as attachment:
        split = rows(tiny_config("bert"))
        expected = predict_logits(attachment.model, split)
        forward = Trunk(attachment, Shelf(PLENTY, 0)).forward(split)
        for module in attachment.model.base_model.encoder.modules():
            if isinstance(module, torch.nn.Linear):
                monkeypatch.setattr(module, "weight", None)  # cannot be called
        torch.testing.assert_close(predict_logits(attachment.model, split, forward=forward), expected)


def test_a_head_alone_needs_no_layer(tiny_model, tiny_geometry, tiny_config, monkeypatch):
    with attach(tiny_model, tiny_geometry, "bert", Architecture()) as attachment:
        split = rows(tiny_config("bert"))
        expected = predict_logits(attachment.model, split)
        forward = Trunk(attachment, Shelf(PLENTY, 0)).forward(split)
        for layer in attachment.model.base_model.encoder.layer:
            monkeypatch.setattr(layer.attention, "forward", None)  # cannot be called
        torch.testing.assert_close(predict_logits(attachment.model, split, forward=forward), expected)


def test_a_boundary_is_filled_from_the_nearest_below_with_the_same_states(tiny_model, tiny_geometry, tiny_config):
    split, once, stepwise = rows(tiny_config("bert")), Shelf(PLENTY, 0), Shelf(PLENTY, 0)
    Trunk(above(tiny_model, tiny_geometry, 2), once).forward(split)
    Trunk(above(tiny_model, tiny_geometry, 1), stepwise).forward(split)
    bare = above(tiny_model, tiny_geometry, 2)
    bare.model.base_model.encoder.layer[0].attention.forward = None  # not needed any more
    Trunk(bare, stepwise).forward(split)
    both = [kept.find(split, "encoder.layer.1") for kept in (once, stepwise)]
    assert torch.equal(both[0].flat, both[1].flat)


def test_the_model_is_left_as_it_was_even_by_a_forward_that_fails(tiny_model, tiny_geometry, tiny_config):
    with attach(tiny_model, tiny_geometry, "bert") as attachment:
        split = rows(tiny_config("bert"))
        before = predict_logits(attachment.model, split)
        forward = Trunk(attachment, Shelf(PLENTY, 0)).forward(split)
        broken = split.batch([0, 1])
        broken.inputs["token_type_ids"] = torch.full((2, 9), 99)
        with pytest.raises(IndexError):
            forward(broken)
        assert all("forward" not in layer.__dict__ for layer in attachment.model.base_model.encoder.layer)
        assert torch.equal(predict_logits(attachment.model, split), before)


# -- batches in two pieces


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", [0, 1])
def test_a_batch_in_pieces_gives_the_same_logits_and_gradients(
    tiny_model, tiny_geometry, tiny_config, monkeypatch, family, layer
):
    geometry, split = tiny_geometry(family), rows(tiny_config(family), segments=family == "bert")
    placements = tuple(Placement("serial_adapter", "ffn", at, 4) for at in range(layer, geometry.layers))
    passes = []
    with attach(tiny_model, tiny_geometry, family, Architecture(placements)) as attachment:
        attachment.model.register_forward_pre_hook(lambda *_: passes.append(1))
        batch = split.batch([1, 5, 3, 0, 4])
        leaves = [*attachment.modules.parameters(), *attachment.head.values()]
        found, counts = [], []
        for cost in (10**6, 0):
            monkeypatch.setattr(activations, "piece_cost", lambda *_, cost=cost: cost)
            forward = Trunk(attachment, Shelf(PLENTY, 0)).forward(split)
            passes.clear()
            logits = forward(batch)
            found.append([logits, *torch.autograd.grad(logits.square().sum(), leaves, allow_unused=True)])
            counts.append(len(passes))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)
        one_token = layer == 1 and FirstToken(attachment).possible
        pieces = len(batch.cut(0))
        assert pieces > 2 and counts == [1, 1 if one_token else pieces]


# -- the last layer for the first token alone

PLACES = [
    pytest.param(family, module, site, options, id=f"{family}-{module}-{site}{'-gated' if options else ''}")
    for family in ("bert", "distilbert")
    for module, module_type in MODULE_TYPES.all().items()
    for site, kind in sites_of(family).items()
    if kind in module_type.kinds
    for options in options_of(module)
]


@pytest.mark.parametrize(("family", "module", "site", "options"), PLACES)
def test_the_first_token_alone_gives_the_same_logits_and_gradients(
    tiny_model, tiny_geometry, tiny_config, family, module, site, options
):
    geometry, split = tiny_geometry(family), rows(tiny_config(family))
    architecture = Architecture(in_all_layers(geometry, module, site, options))
    with attach(tiny_model, tiny_geometry, family, architecture) as attachment:
        assert FirstToken(attachment).possible == (not (module == "prefix" and options))
        batch = split.batch([0, 1, 2, 3])
        leaves = [*attachment.modules.parameters(), *attachment.head.values()]
        expected, found = (
            [logits, *torch.autograd.grad(logits.square().sum(), leaves, allow_unused=True)]
            for logits in (plain(attachment.model)(batch), Trunk(attachment, Shelf(0, 0)).forward(split)(batch))
        )
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)


def test_the_gate_of_any_type_for_keys_and_values_needs_all_tokens(tiny_model, tiny_geometry, second_prefix):
    for options in options_of("prefix"):
        architecture = Architecture((Placement(second_prefix, "attention.kv", 1, 4, options),))
        with attach(tiny_model, tiny_geometry, "bert", architecture) as attachment:
            assert FirstToken(attachment).possible == (not options)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_whose_head_reads_the_first_token_are_shortened(tiny_model, tiny_geometry, tiny_config, family):
    with attach(tiny_model, tiny_geometry, family) as attachment:
        first, split = FirstToken(attachment), rows(tiny_config(family))
        assert first.possible == (family in first_token.FAMILIES)
        if first.possible:
            with first.alone():
                hidden = attachment.model.base_model(**split.batch([0, 1, 2]).inputs)[0]
            assert hidden.shape[:2] == (3, 1)


# -- where there is no room


def test_beyond_the_memory_states_are_in_a_file_that_nobody_else_can_reach(
    tiny_model, tiny_geometry, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(shelves.tempfile, "tempdir", str(tmp_path))
    with attach(tiny_model, tiny_geometry, "bert") as attachment:
        split, kept = rows(tiny_config("bert")), Shelf(0, PLENTY)
        forward = Trunk(attachment, kept).forward(split)
        assert not kept.find(split, "encoder.layer.0").in_memory and not list(tmp_path.iterdir())
        expected = predict_logits(attachment.model, split)
        torch.testing.assert_close(predict_logits(attachment.model, split, forward=forward), expected)


@pytest.mark.parametrize("limits", [(0, 0), (100, 100)])
def test_without_room_the_whole_model_runs(tiny_model, tiny_geometry, tiny_config, limits):
    with attach(tiny_model, tiny_geometry, "bert") as attachment:
        split = rows(tiny_config("bert"))
        forward = Trunk(attachment, Shelf(*limits)).forward(split)
        expected = predict_logits(attachment.model, split)
        torch.testing.assert_close(predict_logits(attachment.model, split, forward=forward), expected)


def test_a_disk_that_is_full_costs_time_only(tiny_model, tiny_geometry, tiny_config, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with attach(tiny_model, tiny_geometry, "bert") as attachment:
        split = rows(tiny_config("bert"))
        forward = Trunk(attachment, Shelf(0, PLENTY)).forward(split)
        expected = predict_logits(attachment.model, split)
        torch.testing.assert_close(predict_logits(attachment.model, split, forward=forward), expected)


def test_the_least_used_gives_way(tiny_model, tiny_geometry, tiny_config):
    attachment = above(tiny_model, tiny_geometry, 2)
    first, second, third = (rows(tiny_config("bert")) for _ in range(3))
    shelf = Shelf(2 * (sum(LENGTHS) + 1) * 32 * 4, 0)
    for split in (first, second, first, third):
        Trunk(attachment, shelf).forward(split)
    there = [shelf.find(split, "encoder.layer.1") is not None for split in (first, second, third)]
    assert there == [True, False, True]


def test_a_worker_takes_its_share_of_what_its_container_has(tmp_path, monkeypatch):
    limits = [tmp_path / name for name in ("memory.max", "memory.limit_in_bytes", "absent")]
    monkeypatch.setattr(devices, "CONTAINER_LIMITS", limits)
    limits[1].write_text("max\n")
    machine = devices.machine_memory()
    limits[0].write_text("1000000\n")
    assert devices.machine_memory() == 1_000_000 < machine
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 8 * torch.get_num_threads())
    assert Shelf().memory == 1_000_000 // 32


# -- in a run


def test_runs_share_what_is_stored_and_score_as_without_it(request_for, fresh_worker, monkeypatch):
    last_layer = Architecture((Placement("lora", "attention.query", 1, 4),))
    request = request_for(last_layer, parts=("holdout", "validation"))
    without = proxy.run(request.model_copy(update={"shortcuts": False}))
    assert not proxy._residency.shelf._kept
    first = proxy.run(request)
    kept = dict(proxy._residency.shelf._kept)
    again = proxy.run(request)
    assert {path for _, path in kept if path.count(".") == 2} == {"encoder.layer.0"}
    assert len(kept) == 3 * 4  # training, held-out and validation rows, each with queries, keys and values
    assert {key: id(one) for key, one in proxy._residency.shelf._kept.items()} == {
        key: id(one) for key, one in kept.items()
    }
    assert first.scores == again.scores and first.curve == again.curve
    assert first.scores == pytest.approx(without.scores, abs=0.03)


def test_plain_is_the_model_itself(tiny_model, tiny_config):
    model, split = tiny_model("bert"), rows(tiny_config("bert"))
    batch = split.batch([0, 3])
    assert torch.equal(plain(model)(batch), model(**batch.inputs).logits)
