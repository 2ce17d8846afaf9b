"""A gate scales what a placement does: nothing at 0, all of it at 1, and a gradient in between."""

from functools import partial

import pytest
import torch
from torch.nn import functional

from autopeft.architecture import Architecture, Placement
from tests.workers.conftest import gated_logits, lora

close = torch.testing.assert_close
FAMILIES = ("bert", "llama", "t5")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_open_gates_are_the_plain_modules_and_closed_ones_the_head_only(attach_gated, tiny_batch, family, dtype):
    batch, attachment = tiny_batch(family, (5, 7, 3)), attach_gated(family=family, dtype=dtype)
    plain = gated_logits(attachment, batch)
    assert torch.equal(gated_logits(attachment, batch, torch.ones(14)), plain)
    closed = gated_logits(attachment, batch, torch.zeros(14))
    assert torch.equal(closed, gated_logits(attach_gated(Architecture(), family, dtype), batch))
    assert (closed - plain).abs().max() > 1e-3
    half = gated_logits(attachment, batch, torch.full((14,), 0.5))
    assert (half - plain).abs().max() > 1e-3 and (half - closed).abs().max() > 1e-3
    assert torch.equal(gated_logits(attachment, batch), plain), "without gates all is as before"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_closed_gate_takes_away_its_own_placement_alone(attach_gated, tiny_batch, family):
    whole = attach_gated(lora(), family)
    batch, gone = tiny_batch(family), 2
    kept = [p for i, p in enumerate(whole.architecture.placements) if i != gone]
    fewer = attach_gated(Architecture(tuple(kept)), family)
    for placement in kept:
        fewer.modules[placement.key].load_state_dict(whole.modules[placement.key].state_dict())
    gates = torch.ones(4)
    gates[gone] = 0
    close(gated_logits(whole, batch, gates), gated_logits(fewer, batch))


def exact_norm(norm, x):
    return norm.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_of_a_gate_is_that_of_finite_differences(attach_gated, tiny_batch, family):
    attachment = attach_gated(family=family, dtype=torch.float64)
    for parameter in attachment.head.values():
        parameter.data = parameter.data.double()
    for norm in attachment.model.modules():
        if hasattr(norm, "variance_epsilon"):  # Llama's and T5's compute in float32 in any case
            norm.forward = partial(exact_norm, norm)
    batch = tiny_batch(family)
    z = torch.linspace(0.1, 0.9, 14, dtype=torch.float64, requires_grad=True)

    def loss(gates):
        return functional.cross_entropy(gated_logits(attachment, batch, gates), batch["labels"])

    (found,) = torch.autograd.grad(loss(z.unbind()), z)
    with torch.no_grad():
        step = 1e-5 * torch.eye(14, dtype=torch.float64)
        wanted = torch.stack([(loss(z + e) - loss(z - e)) / 2e-5 for e in step])
    close(found, wanted, rtol=1e-5, atol=1e-8)
    assert (found.abs() > 1e-6).all()


def test_a_prefix_cannot_have_a_gate(attach_gated):
    prefix = Placement("prefix", "attention.kv", 1, 2)
    attachment = attach_gated(Architecture((prefix, *lora().placements)))
    with pytest.raises(ValueError, match="001:attention-kv:prefix: a prefix cannot have a gate"):
        attachment.set_gates({prefix.key: torch.tensor(0.5)})
    attachment.set_gates({lora().placements[0].key: torch.tensor(0.5)})


def test_a_gate_of_no_placement_is_refused(attach_gated):
    with pytest.raises(ValueError, match="gates of no placement: .*'nowhere'"):
        attach_gated().set_gates({"nowhere": torch.tensor(1.0)})
