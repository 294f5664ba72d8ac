"""Group-relative policy optimisation: by hand, by the definition, identities, what is constant."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import grpo as reference
from tables import Table, models_of, responses, table, value
from torch import Tensor

from homestretch.algorithms.grpo import GRPO, grpo_loss
from homestretch.algorithms.ppo import ppo_policy_loss
from homestretch.algorithms.rloo import rloo_advantage
from homestretch.batch import Average, LossTerms
from homestretch.config.grpo import GRPOConfig
from homestretch.ops.groups import group_scaled

IDS = [[1, 4, 2], [3], [0, 2], [4, 4]]
REWARDS = [1.0, -0.5, 2.0, 0.25]
PAIRS = [0, 0, 7, 7]


def gradient(policy: Table, rewards: list[float], *, start: Table | None = None, **settings: object) -> Tensor:
    models = models_of(policy, responses(IDS, index=PAIRS), rewards, start)
    algorithm = GRPO(GRPOConfig(**settings))
    batch, _ = algorithm.collect(models, models.sample(None, 0), 0)
    return torch.autograd.grad(value(algorithm.loss(models, batch)), policy.logits_TV)[0]


def test_advantages_by_hand() -> None:
    """Pairs 1.5 and 1.75 apart lie one standard deviation from their means, 0.75 and 0.875."""
    models = models_of(table(), responses(IDS, index=PAIRS), REWARDS)
    for scale, expected in (("group", [1, -1, 1, -1]), ("none", [0.75, -0.75, 0.875, -0.875])):
        batch, _ = GRPO(GRPOConfig(scale_rewards=scale)).collect(models, models.sample(None, 0), 0)
        assert batch.adv_B.tolist() == pytest.approx(expected, abs=2e-4)
        assert batch.reward_B.tolist() == REWARDS


def test_a_token_by_hand() -> None:
    """p = 1/2, p_old = 1/2.5, p_ref = 1/4: the ratio 1.25 is cut to 1.2, and k = 1/2 - 1 + ln 2."""
    p, p_old, p_ref = (torch.tensor([[x]]).log() for x in (0.5, 0.4, 0.25))
    for adv, objective in ((2.0, 2.4), (-2.0, -2.5)):
        loss = grpo_loss(p, p_old, p_ref, torch.tensor([adv]), cliprange=0.2, beta=0.1)
        assert float(loss) == pytest.approx(-objective + 0.1 * (math.log(2) - 0.5))


@pytest.mark.parametrize("average", ["token", "sequence"])
@given(case=ragged(min_length=1), seed=st.integers(0, 99), scale=st.booleans())
def test_equals_the_definition(average: Average, case: tuple[Tensor, list[int]], seed: int, scale: bool) -> None:
    values, lengths = case
    generator = torch.Generator().manual_seed(seed)

    def near(x: Tensor) -> Tensor:
        return x + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)

    logp_BT, mask_BT = -values.abs(), mask_of(values, lengths)
    old_BT, ref_BT, reward_B = near(logp_BT), near(logp_BT), near(torch.zeros(len(lengths), dtype=torch.float64))
    adv_B = group_scaled(reward_B, torch.zeros(len(lengths)), scale=scale)
    terms_BT = grpo_loss(logp_BT, old_BT, ref_BT, adv_B, cliprange=0.1, beta=0.3)
    rows = []
    for b, row in enumerate(zip(*(rows_of(x, lengths) for x in (logp_BT, old_BT, ref_BT)), strict=True)):
        adv = reference.advantage(reward_B.tolist(), b, scale=scale)
        rows.append([reference.loss(p, q, r, adv, eps=0.1, beta=0.3) for p, q, r in zip(*row, strict=True)])
    got = value(LossTerms(terms=terms_BT, mask=mask_BT, average=average))
    assert float(got) == pytest.approx(reference.objective(rows, average))


@pytest.mark.parametrize("average", ["token", "sequence"])
def test_at_ratio_one_the_gradient_is_that_of_the_policy_gradient(average: str) -> None:
    policy, made = table(), responses(IDS)
    logp_BT = policy.score(made, want={"logp"}).logp_BT
    adv_B = torch.tensor([0.75, -0.75, 0.875, -0.875], dtype=torch.float64)  # R minus the mean of both
    weight_BT = made.mask_BT / (8 if average == "token" else 4 * made.length_B[:, None])
    (expected,) = torch.autograd.grad(-(logp_BT * adv_B[:, None] * weight_BT).sum(), policy.logits_TV)
    found = gradient(policy, REWARDS, beta=0.0, scale_rewards="none", average=average)
    torch.testing.assert_close(found, expected)


def test_the_settings_reach_the_loss() -> None:
    """Away from ratio 1 the loss is that of the pure function with the same numbers."""
    policy, start = table(), table(seed=1)
    models = models_of(policy, responses(IDS, index=PAIRS), REWARDS, start)
    algorithm = GRPO(GRPOConfig(beta=0.3, cliprange=0.05, average="token"))
    batch, _ = algorithm.collect(models, models.sample(None, 0), 0)
    with torch.no_grad():
        policy.logits_TV += 0.1 * table(seed=2).logits_TV
    logp_BT, ref_BT = (p.score(batch, want={"logp"}).logp_BT for p in (policy, start))
    terms = algorithm.loss(models, batch)
    expected_BT = grpo_loss(logp_BT, batch.logp_old_BT, ref_BT, batch.adv_B, cliprange=0.05, beta=0.3)
    torch.testing.assert_close(terms.terms, expected_BT)
    assert terms.average == "token" and torch.equal(terms.mask, batch.mask_BT)
    clipped_BT, mask_BT = terms.diagnostics["policy/clipfrac_avg"]
    assert torch.equal(clipped_BT, (((logp_BT - batch.logp_old_BT).exp() - 1).abs() > 0.05).float())
    assert 0 < clipped_BT[mask_BT.bool()].mean() < 1


def test_without_divergence_a_term_is_the_surrogate_of_ppo() -> None:
    generator = torch.Generator().manual_seed(0)
    logp_BT, old_BT = -torch.rand(2, 3, 4, generator=generator)
    adv_B = torch.tensor([1.0, -2.0, 0.5])
    found_BT = grpo_loss(logp_BT, old_BT, old_BT - 1, adv_B, cliprange=0.2, beta=0.0)
    torch.testing.assert_close(found_BT, ppo_policy_loss(logp_BT, old_BT, adv_B[:, None].expand(3, 4), cliprange=0.2))


def test_unscaled_advantages_are_those_of_rloo_but_for_a_factor() -> None:
    """R - mean of all k is (k - 1)/k of R - mean of the others."""
    reward_B, index_B = torch.tensor([1.0, 2.0, 6.0, -1.0]), torch.zeros(4)
    rloo_B = rloo_advantage(reward_B, torch.zeros(4), index_B, kl_coef=0.0)
    torch.testing.assert_close(group_scaled(reward_B, index_B, scale=False), 0.75 * rloo_B)


def test_equal_rewards_teach_nothing_but_the_way_back() -> None:
    """The penalty's gradient is zero at the reference, and elsewhere a step against it comes nearer."""
    equal, policy, start = [1.5, 1.5, -3.0, -3.0], table(), table(seed=1)
    assert gradient(policy, equal, start=start, beta=0.0).abs().max() < 1e-12
    assert gradient(policy, equal, beta=0.5).abs().max() < 1e-12

    def divergence() -> float:
        made = responses(IDS)
        ours, theirs = (p.score(made, want={"logp"}).logp_BT.detach() for p in (policy, start))
        k3_BT = ((theirs - ours).expm1() - (theirs - ours)) * made.mask_BT
        return float((k3_BT.sum(1) / made.length_B).mean())

    before, step = divergence(), gradient(policy, equal, start=start, beta=0.5)
    with torch.no_grad():
        policy.logits_TV -= 0.01 * step
    assert divergence() < before


def test_what_is_constant_gets_no_gradient() -> None:
    logp_BT, old_BT, ref_BT = (torch.rand(2, 3, requires_grad=True) for _ in range(3))
    adv_B = torch.rand(2, requires_grad=True)
    grpo_loss(logp_BT, old_BT, ref_BT, adv_B, cliprange=9.0, beta=0.5).sum().backward()
    assert logp_BT.grad is not None and [old_BT.grad, ref_BT.grad, adv_B.grad] == [None] * 3
    live_B = torch.rand(2, requires_grad=True)
    assert not GRPO(GRPOConfig()).advantage(live_B, logp_BT, torch.zeros(2)).requires_grad
    models = models_of(table(), responses(IDS, index=PAIRS), REWARDS)
    batch, _ = GRPO(GRPOConfig()).collect(models, models.sample(None, 0), 0)
    assert not any(tensor.requires_grad for tensor in batch.flat().values())


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    logp_BT, ref_BT = -torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    old_BT = logp_BT + 0.02 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    adv_B = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    logp_BT.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: grpo_loss(x, old_BT, ref_BT, adv_B, cliprange=0.5, beta=0.3), (logp_BT,))
