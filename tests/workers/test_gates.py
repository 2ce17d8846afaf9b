"""Probabilities that fit a budget, their gradient, and the gates drawn from them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.gates import draw, probabilities

close = torch.testing.assert_close


def vector(values):
    return torch.tensor(values, dtype=torch.float64)


gates = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(-1e3, 1e3), min_size=n, max_size=n).map(vector),
        st.lists(st.integers(1, 10**6), min_size=n, max_size=n).map(vector),
    )
)
shares = st.floats(1e-4, 0.999)
temperatures = st.floats(0.01, 10)


@given(gates, shares, temperatures)
def test_the_expected_parameters_are_the_budget(of, share, temperature):
    logits, costs = of
    budget = share * costs.sum().item()
    p = probabilities(logits, costs, budget, temperature)
    assert ((p >= 0) & (p <= 1)).all()
    assert (p * costs).sum().item() == pytest.approx(budget, rel=1e-6)


@given(gates, shares, temperatures)
def test_a_higher_logit_has_no_lower_probability_and_no_budget_or_shift_changes_that(of, share, temperature):
    logits, costs = of
    p = probabilities(logits, costs, share * costs.sum().item(), temperature)
    assert (p[logits.argsort()].diff() >= -1e-12).all()
    shifted = probabilities(logits + 5, costs, share * costs.sum().item(), temperature)
    close(shifted, p, rtol=1e-4, atol=1e-9)


@given(gates, st.floats(-100, 100))
def test_a_gate_gains_by_its_own_logit_and_the_others_lose(of, up):
    logits, costs = of
    budget = 0.3 * costs.sum().item()
    raised = logits.clone()
    raised[0] += abs(up)
    change = probabilities(raised, costs, budget, 1.0) - probabilities(logits, costs, budget, 1.0)
    assert change[0] >= -1e-9 and (change[1:] <= 1e-9).all()


@pytest.mark.parametrize("over", [1.0, 1 + 1e-12, 50.0])
@pytest.mark.parametrize("logits", [[0.0, 0, 0], [-1e6, 0, 1e6]])
def test_a_budget_for_everything_opens_every_gate(over, logits):
    costs = vector([5.0, 7, 11])
    assert (probabilities(vector(logits), costs, over * 23, 1.0) > 1 - 1e-6).all()


def test_equal_logits_share_the_budget_and_a_low_temperature_parts_them():
    costs = vector([1.0, 2, 3, 4])
    close(probabilities(torch.zeros(4).double(), costs, 2.5, 1.0), torch.full((4,), 0.25).double())
    sharp = probabilities(vector([0, 1, 2, 3.0]), costs, 4, 0.01)
    close(sharp, vector([0, 0, 0, 1.0]), rtol=0, atol=1e-6)


def test_the_gradient_is_that_of_the_sigmoids_at_a_fixed_shift_over_their_sum():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(7, generator=random, dtype=torch.float64)
    costs = torch.randint(10, 1000, (7,), generator=random).double()
    budget, temperature = 0.3 * costs.sum().item(), 0.7
    p = probabilities(logits, costs, budget, temperature)
    shift = logits / temperature - torch.logit(p)

    def at_a_fixed_shift(changed):
        q = torch.sigmoid(changed / temperature - shift)
        return q * p.sum() / q.sum()

    eye = 1e-6 * torch.eye(7, dtype=torch.float64)
    wanted = torch.stack([(at_a_fixed_shift(logits + e) - at_a_fixed_shift(logits - e)) / 2e-6 for e in eye], dim=1)
    found = torch.autograd.functional.jacobian(lambda a: probabilities(a, costs, budget, temperature), logits)
    close(found, wanted, rtol=1e-6, atol=1e-9)
    slope = p * (1 - p) / temperature
    close(found, torch.diag(slope) - p[:, None] * slope / p.sum())
    close(found.sum(dim=0), torch.zeros(7, dtype=torch.float64))


def test_a_drawn_gate_is_above_one_half_with_its_probability():
    p = vector([0.001, 0.1, 0.35, 0.5, 0.8, 0.99])
    uniform = torch.rand(40_000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = draw(p, uniform)
    assert ((s > 0) & (s < 1)).all()
    close((s > 0.5).double().mean(dim=0), p, rtol=0, atol=0.01)
    assert torch.equal(s > 0.5, uniform > 1 - p)


def test_a_drawn_gate_has_the_gradient_of_its_formula():
    p = vector([0.2, 0.5, 0.9]).requires_grad_()
    uniform = vector([0.3, 0.6, 0.1])
    assert torch.autograd.gradcheck(lambda q: draw(q, uniform), p)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_closed_and_open_gates_draw_finite_numbers_and_gradients(uniform):
    logits = vector([-1e6, -50, 0, 50, 1e6]).requires_grad_()
    s = draw(probabilities(logits, torch.ones(5).double(), 2.5, 1.0), torch.full((5,), uniform).double())
    (gradient,) = torch.autograd.grad(s.sum(), logits)
    assert torch.isfinite(s).all() and torch.isfinite(gradient).all()
    assert ((s >= 0) & (s <= 1)).all()


def test_at_a_bound_a_gate_still_moves_the_others():
    logits = vector([100.0, 0, 0]).requires_grad_()
    s = draw(probabilities(logits, torch.ones(3).double(), 1.5, 1.0), torch.full((3,), 0.5).double())
    (gradient,) = torch.autograd.grad(s[0], logits)
    assert (gradient[1:] < 0).all()
