"""Potential-based shaping from a goal model: the expected gradient of an enumerable task stays what it was."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from tables import models_of, responses, table

from homestretch.algorithms.ppo import PPO
from homestretch.batch import SequenceBatch
from homestretch.config.ppo import PPOConfig

EVERYTHING = [list(ids) for ids in itertools.product(range(3), repeat=3)]
SETTINGS = {"whiten": False, "reward_baseline": "none", "kl": "off", "value_warmup_steps": 0, "num_generations": 1}


def potential(batch: SequenceBatch) -> torch.Tensor:
    """A number of each prefix, as far from the reward as can be."""
    columns = [torch.ones(len(batch), dtype=torch.float64)]
    for token_B in batch.ids_BT.unbind(1):
        columns.append((7 * columns[-1] + 3 * token_B).sin())
    return torch.stack(columns, 1)


def expected_gradient(*, shaped: bool, **settings: float) -> torch.Tensor:
    """Over all responses, each with its own probability."""
    policy = table(3, 3)
    reward = torch.randn(len(EVERYTHING), generator=torch.Generator().manual_seed(4), dtype=torch.float64).tolist()
    models = replace(models_of(policy, responses(EVERYTHING), reward), potential=potential if shaped else None)
    rollout, _ = PPO(PPOConfig(**(SETTINGS | settings))).collect(models, models.sample(None, 0), 0)
    probability_B = rollout.logp_old_BT.sum(1).exp()
    assert float(probability_B.sum()) == pytest.approx(1)
    logp_BT = policy.score(rollout, want={"logp"}).logp_BT
    loss = -(probability_B[:, None].detach() * rollout.adv_BT * logp_BT).sum()
    return torch.autograd.grad(loss, policy.logits_TV)[0]


def test_whole_returns_have_the_same_expected_gradient_with_and_without():
    torch.testing.assert_close(expected_gradient(shaped=True, lam=1.0), expected_gradient(shaped=False, lam=1.0))


def test_single_rewards_do_change():
    assert not torch.allclose(expected_gradient(shaped=True, lam=0.0), expected_gradient(shaped=False, lam=0.0))
