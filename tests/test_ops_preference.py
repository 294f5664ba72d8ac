"""Losses of reward models: the sheet's numbers, the definition, and what they do not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import preference as reference

from homestretch.ops.preference import bce_reward_loss, pairwise_reward_loss

LOGIT = st.floats(-8, 8)


def leaf(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_numbers_of_the_sheet() -> None:
    chosen, rejected = leaf([1.2]), leaf([[-0.5, 0.3]])
    loss = bce_reward_loss(chosen, rejected)
    assert loss.tolist() == pytest.approx([0.9274985817], abs=1e-10)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss.sum(), [chosen, rejected])])
    assert gradient.tolist() == pytest.approx([-0.2314752165, 0.1887703344, 0.2872212584], abs=1e-10)
    assert pairwise_reward_loss(chosen, rejected).tolist() == pytest.approx([0.2544699521], abs=1e-10)


@given(rows=st.lists(st.tuples(LOGIT, LOGIT, LOGIT, LOGIT), min_size=1, max_size=4))
def test_equal_the_definition_pair_by_pair(rows: list[tuple[float, float, float, float]]) -> None:
    chosen, rejected, margin = leaf([r[0] for r in rows]), leaf([r[1:3] for r in rows]), leaf([r[3] for r in rows])
    bce, pairwise = bce_reward_loss(chosen, rejected), pairwise_reward_loss(chosen, rejected, margin)
    assert bce.shape == pairwise.shape == (len(rows),)
    # torch's softplus is linear from 20 on, where it is off by e^-20 = 2e-9
    assert bce.tolist() == pytest.approx([reference.bce(r[0], list(r[1:3])) for r in rows], abs=1e-8)
    assert pairwise.tolist() == pytest.approx([reference.pairwise(r[0], list(r[1:3]), r[3]) for r in rows], abs=1e-8)


@pytest.mark.parametrize("loss", [bce_reward_loss, pairwise_reward_loss])
def test_one_worse_response_may_come_without_its_dimension(loss: object) -> None:
    chosen, rejected = leaf([1.0, -2.0, 0.3]), leaf([0.5, 0.1, -4.0])
    torch.testing.assert_close(loss(chosen, rejected), loss(chosen, rejected[:, None]))


def test_an_undecided_reward() -> None:
    zero = torch.zeros(2, dtype=torch.float64)
    assert bce_reward_loss(zero, zero).tolist() == pytest.approx([2 * math.log(2)] * 2)
    assert pairwise_reward_loss(zero, zero).tolist() == pytest.approx([math.log(2)] * 2)


@given(shift=st.floats(0.5, 5))
def test_only_pairwise_ignores_what_a_prompt_adds_to_both(shift: float) -> None:
    chosen, rejected = leaf([1.2, 0.1]), leaf([[-0.5, 0.3], [0.2, 0.2]])
    torch.testing.assert_close(
        pairwise_reward_loss(chosen + shift, rejected + shift), pairwise_reward_loss(chosen, rejected)
    )
    assert not torch.allclose(bce_reward_loss(chosen + shift, rejected + shift), bce_reward_loss(chosen, rejected))


def test_no_pairs() -> None:
    for loss in (bce_reward_loss, pairwise_reward_loss):
        assert loss(torch.zeros(0), torch.zeros(0)).shape == loss(torch.zeros(0), torch.zeros(0, 3)).shape == (0,)


def test_gradcheck() -> None:
    inputs = leaf([1.2, -0.4]), leaf([[-0.5, 0.3], [2.0, 0.1]])
    assert torch.autograd.gradcheck(bce_reward_loss, inputs)
    assert torch.autograd.gradcheck(pairwise_reward_loss, (*inputs, leaf([0.2, 0.0])))


def test_extreme_logits_stay_finite() -> None:
    far = torch.tensor([1e4]), torch.tensor([-1e4])
    for loss in (bce_reward_loss, pairwise_reward_loss):
        assert loss(*far).item() == 0.0 and loss(*far[::-1]).item() == pytest.approx(2e4)
