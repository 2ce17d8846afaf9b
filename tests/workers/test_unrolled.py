"""The gradient that looks one weight step ahead, held against two derivatives by autograd."""

import numpy as np
import torch
from torch.nn import functional

from autopeft.messages import GateSettings, TrainingSettings
from tests.workers.conftest import gated_logits
from tests.workers.test_structure import rows
from workers.structure import _Search
from workers.training import Loop
from workers.unrolled import unrolled_gradient

close = torch.testing.assert_close


def test_the_second_order_gradient_is_exact_for_losses_of_second_degree():
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    weights = [normal(4).requires_grad_(), normal(2, 3).requires_grad_()]
    alpha, rates = normal(5).requires_grad_(), [0.3, 0.05]
    mixing, target = (normal(4, 5), normal(6, 5)), normal(10)

    def lower(w, a):
        return ((w[0] - mixing[0] @ a) ** 2).sum() + (w[1].flatten() * (mixing[1] @ a)).sum() + (w[1] ** 2).sum()

    def upper(w, a):
        return ((torch.cat([w[0], w[1].flatten()]) - target) ** 2).sum() * a.exp().sum() + (a**3).sum()

    def gradients(loss):
        by_alpha, *by_weights = torch.autograd.grad(loss(weights, alpha), [alpha, *weights], allow_unused=True)
        return by_alpha, by_weights

    downhill = torch.autograd.grad(lower(weights, alpha), weights, create_graph=True)
    ahead = [w - rate * g for w, rate, g in zip(weights, rates, downhill, strict=True)]
    (wanted,) = torch.autograd.grad(upper(ahead, alpha), alpha)
    before = [w.detach().clone() for w in weights]
    found = unrolled_gradient(weights, rates, lambda: gradients(upper), lambda: gradients(lower))
    close(found, wanted, rtol=1e-7, atol=1e-7)
    assert (found - gradients(upper)[0]).abs().max() > 0.1
    assert all(torch.equal(w, old) for w, old in zip(weights, before, strict=True))


def test_without_a_way_ahead_the_second_order_gradient_is_the_first():
    weights, direct = [torch.ones(3)], torch.tensor([1.0, 2.0])
    flat = unrolled_gradient(weights, [0.1], lambda: (direct, [torch.zeros(3)]), lambda: (direct, [torch.ones(3)]))
    assert torch.equal(flat, direct)


def test_the_second_order_gradient_of_a_model_is_that_of_two_derivatives(attach_gated):
    attachment = attach_gated()
    attachment.model.set_attn_implementation("eager")  # the others have no second derivative
    rate = 0.05
    settings = TrainingSettings(batch_size=8, learning_rate=rate, head_learning_rate=rate, warmup=0.0)
    loop = Loop(attachment, "classification", settings)
    drawn = iter(np.random.default_rng(0).random((2, 14)))

    class Drawing:
        def random(self, count):
            return next(drawn)

    search = _Search(loop, attachment, GateSettings(budget=300, order="second", steps=10), Drawing())
    weight_batch, gate_batch = rows(8).batch(range(8)), rows(8, seed=1).batch(range(8))
    found = search._gradient(weight_batch, gate_batch)

    drawn = iter(np.random.default_rng(0).random((2, 14)))
    upper, lower = search._draw().float(), search._draw().float()
    weights = loop.parameters

    def loss(batch, gates):
        return functional.cross_entropy(gated_logits(attachment, batch.inputs, gates), batch.targets)

    downhill = torch.autograd.grad(loss(weight_batch, lower), weights, create_graph=True)
    kept = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w, g in zip(weights, downhill, strict=True):
            w.sub_(rate * g)
    direct, *ahead = torch.autograd.grad(loss(gate_batch, upper), [search.logits, *weights])
    with torch.no_grad():
        for w, old in zip(weights, kept, strict=True):
            w.copy_(old)
    downhill = torch.autograd.grad(loss(weight_batch, lower), weights, create_graph=True)
    product = sum((rate * v * g).sum() for v, g in zip(ahead, downhill, strict=True))
    (mixed_term,) = torch.autograd.grad(product, search.logits)
    close(found - direct, -mixed_term, rtol=0.02, atol=0.02 * mixed_term.abs().max().item())
    assert mixed_term.abs().max() > 0.01 * direct.abs().max()
