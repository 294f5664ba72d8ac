"""The look-ahead's formulas with the sheet's numbers: weights, advantages, loss and its gradient."""

from __future__ import annotations

import pytest
import torch

from homestretch.algorithms.ppo import lookahead_advantages, lookahead_policy_loss, lookahead_weights
from homestretch.config.ppo import PPOConfig
from homestretch.errors import RecipeError

P_OLD = torch.tensor([[[0.5, 0.3, 0.1]]], dtype=torch.float64)
NEXT = torch.tensor([[[0.4, 0.1, -0.3]]], dtype=torch.float64)
STATE = torch.tensor([[0.2]], dtype=torch.float64)


def test_lookahead_of_the_sheet_in_value_and_gradient() -> None:
    weight = lookahead_weights(P_OLD.log())
    assert weight.flatten().tolist() == pytest.approx([5 / 9, 3 / 9, 1 / 9])
    adv = lookahead_advantages(NEXT, STATE, weight, baseline="value")
    assert adv.flatten().tolist() == pytest.approx([0.2, -0.1, -0.5])
    logits = torch.tensor([0.5, 0.3, 0.1, 0.1], dtype=torch.float64).log().requires_grad_()
    logp = logits.log_softmax(-1)[:3].reshape(1, 1, 3)
    loss = lookahead_policy_loss(logp, P_OLD.log(), adv, weight, cliprange=0.2)
    assert loss.item() == pytest.approx(-0.0222222, abs=1e-7)
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-0.1, 0.04, 0.0577778, 0.0022222], abs=1e-7)


def test_baseline_set_of_the_sheet() -> None:
    weight = lookahead_weights(P_OLD.log())
    adv = lookahead_advantages(NEXT, STATE, weight, baseline="set")
    assert adv.flatten().tolist() == pytest.approx([0.1777778, -0.1222222, -0.5222222], abs=1e-7)
    assert lookahead_policy_loss(P_OLD.log(), P_OLD.log(), adv, weight, cliprange=0.2).item() == pytest.approx(0)


def test_baseline_set_with_one_candidate_is_refused_in_function_and_settings() -> None:
    with pytest.raises(ValueError, match="at least two candidates"):
        lookahead_advantages(NEXT[..., :1], STATE, torch.ones(1, 1, 1), baseline="set")
    with pytest.raises(RecipeError, match="zero at lookahead_k 1"):
        PPOConfig.parse({"lookahead_k": 1, "lookahead_baseline": "set"}, where="here")
