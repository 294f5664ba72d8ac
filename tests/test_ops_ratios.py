"""Clipped objectives: the sheet's numbers, where the gradient is zero, and what is constant."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import ratios as reference

from homestretch.ops.ratios import clipped_surrogate, clipped_value_loss, truncated_ratio

NUMBER = st.floats(-5, 5)


def leaf(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def test_surrogate_of_the_sheet_and_its_gradient() -> None:
    ratio, adv = leaf(1.5, 0.5, 1.5, 0.5), leaf(1.0, 1.0, -1.0, -1.0)
    got = clipped_surrogate(ratio, adv, cliprange=0.2)
    assert got.tolist() == pytest.approx([1.2, 0.5, -1.5, -0.8])
    got.sum().backward()
    assert ratio.grad is not None and ratio.grad.tolist() == [0.0, 1.0, -1.0, 0.0]


@given(ratio=st.floats(0.01, 5), adv=NUMBER, eps=st.floats(0.01, 0.9))
def test_surrogate_equals_the_definition(ratio: float, adv: float, eps: float) -> None:
    got = clipped_surrogate(leaf(ratio), leaf(adv), cliprange=eps)
    assert got.item() == pytest.approx(reference.surrogate(ratio, adv, eps), abs=1e-12)


def test_at_ratio_one_the_gradient_is_that_of_the_plain_policy_gradient() -> None:
    logp, adv = leaf(-0.3, -1.0, -2.0), torch.tensor([1.5, -0.5, 0.0], dtype=torch.float64)
    clipped_surrogate((logp - logp.detach()).exp(), adv, cliprange=0.2).sum().backward()
    assert logp.grad is not None and logp.grad.tolist() == pytest.approx(adv.tolist())


def test_the_advantage_is_a_constant() -> None:
    ratio, adv = leaf(1.1), leaf(2.0)
    clipped_surrogate(ratio, adv, cliprange=0.2).sum().backward()
    assert adv.grad is None and ratio.grad is not None


def test_value_loss_of_the_sheet() -> None:
    got = clipped_value_loss(leaf(0.9), leaf(0.4), leaf(1.0), cliprange_value=0.2)
    assert got.item() == pytest.approx(0.08)


@given(value=NUMBER, value_old=NUMBER, ret=NUMBER, eps=st.floats(0.01, 2))
def test_value_loss_equals_the_definition(value: float, value_old: float, ret: float, eps: float) -> None:
    got = clipped_value_loss(leaf(value), leaf(value_old), leaf(ret), cliprange_value=eps)
    assert got.item() == pytest.approx(reference.value_loss(value, value_old, ret, eps), abs=1e-12)


def test_value_loss_has_constants_and_a_zero_gradient_behind_the_clip() -> None:
    value, value_old, ret = leaf(0.9, 0.5, -1.0), leaf(0.4, 0.4, 0.4), leaf(1.0, 1.0, 1.0)
    clipped_value_loss(value, value_old, ret, cliprange_value=0.2).sum().backward()
    assert value_old.grad is None and ret.grad is None
    # moved towards the return past the interval: 0; inside it, or away from the return: value - return
    assert value.grad is not None and value.grad.tolist() == pytest.approx([0.0, -0.5, -2.0])


def test_gradcheck_away_from_the_corners() -> None:
    ratio, adv = leaf(1.5, 0.5, 1.05, 0.7), torch.tensor([1.0, 1.0, -1.0, -2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda r: clipped_surrogate(r, adv, cliprange=0.2), ratio)
    value_old, ret = torch.tensor([0.4, 0.1, 0.0, 3.0]).double(), torch.tensor([1.0, -2.0, 0.3, 0.0]).double()
    assert torch.autograd.gradcheck(
        lambda v: clipped_value_loss(v, value_old, ret, cliprange_value=0.2), leaf(0.9, 0.15, 0.8, 2.0)
    )


def test_a_truncated_ratio_is_the_ratio_up_to_the_cap_and_a_constant() -> None:
    logp_old, logp_drawn = leaf(-1.0, -0.5, 0.0), leaf(-1.0, -1.0, -3.0)
    got = truncated_ratio(logp_old, logp_drawn, cap=2.0)
    assert got.tolist() == pytest.approx([1.0, 1.6487212707, 2.0])
    assert not got.requires_grad


def test_truncated_ratios_weigh_samples_of_one_distribution_as_those_of_another() -> None:
    """With a cap that no ratio reaches, the weighted mean under q is the mean under p."""
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.4, 0.4, 0.2]).double()
    value = torch.tensor([1.0, -2.0, 4.0]).double()
    weight = truncated_ratio(p.log(), q.log(), cap=2.0)
    assert (q * weight * value).sum().item() == pytest.approx((p * value).sum().item())
