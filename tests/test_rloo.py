"""REINFORCE with the other samples as the baseline: by hand, by the definition, identities, what is constant."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import rloo as reference
from tables import Table, models_of, responses, table, value
from torch import Tensor

from homestretch.algorithms.ppo import PPO
from homestretch.algorithms.rloo import RLOO, rloo_advantage, rloo_loss
from homestretch.config.ppo import PPOConfig
from homestretch.config.rloo import RLOOConfig

IDS = [[1, 4, 2], [3], [0, 2], [4, 4]]
REWARDS = [1.0, -0.5, 2.0, 0.25]
PAIRS = [0, 0, 7, 7]


def gradient(policy: Table, rewards: list[float], *, reference: Table | None = None, **settings: float) -> Tensor:
    models = models_of(policy, responses(IDS, index=PAIRS), rewards, reference)
    algorithm = RLOO(RLOOConfig(**settings))
    batch, _ = algorithm.collect(models, models.sample(None, 0), 0)
    return torch.autograd.grad(value(algorithm.loss(models, batch)), policy.logits_TV)[0]


def test_advantages_by_hand() -> None:
    """R is 1, 2 - 0.5 and 6 + 1; the others' means are 4.25, 4 and 1.25. The fourth is alone."""
    reward_B, kl_B = torch.tensor([1.0, 2.0, 6.0, 5.0]), torch.tensor([0.0, 1.0, -2.0, 2.0])
    found_B = rloo_advantage(reward_B, kl_B, torch.tensor([3, 3, 3, 8]), kl_coef=0.5)
    assert found_B.tolist() == [-3.25, -2.5, 5.75, 4.0]


def test_the_ratio_of_the_whole_response_is_clipped() -> None:
    """Two tokens of ratios 3 and 1/2 (or their inverses) make 1.5 (or 2/3); padding has a ratio of its own."""
    logp_BT = torch.tensor([[3.0, 0.5, 9.0], [1 / 3, 2.0, 9.0]]).log().repeat(2, 1).requires_grad_()
    adv_B, mask_BT = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([[1, 1, 0]] * 4)
    terms_B = rloo_loss(logp_BT, torch.zeros(4, 3), adv_B, mask_BT, cliprange=0.2)
    assert terms_B.tolist() == pytest.approx([-1.2, -2 / 3, 1.5, 0.8])
    terms_B.sum().backward()
    assert logp_BT.grad is not None
    assert logp_BT.grad[:, 0].tolist() == pytest.approx([0.0, -2 / 3, 1.5, 0.0])
    assert torch.equal(logp_BT.grad[:, 0], logp_BT.grad[:, 1]) and not logp_BT.grad[:, 2].any()


@given(case=ragged(min_length=1), seed=st.integers(0, 99), eps=st.sampled_from([0.05, 0.2, 0.9]))
def test_equals_the_definition_row_by_row(case: tuple[Tensor, list[int]], seed: int, eps: float) -> None:
    values, lengths = case
    assume(len(lengths) > 1)
    values, lengths = values.repeat(2, 1), lengths * 2  # two prompts, their samples apart
    index_B = torch.arange(2).repeat_interleave(len(lengths) // 2)
    generator = torch.Generator().manual_seed(seed)

    def near(x: Tensor) -> Tensor:
        return x + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)

    logp_BT, mask_BT = -values.abs(), mask_of(values, lengths)
    old_BT, ref_BT, reward_B = near(logp_BT), near(logp_BT), near(torch.zeros(len(lengths), dtype=torch.float64))
    kl_B = torch.where(mask_BT.bool(), old_BT - ref_BT, 0.0).sum(1)
    adv_B = rloo_advantage(reward_B, kl_B, index_B, kl_coef=0.3)
    got_B = rloo_loss(logp_BT, old_BT, adv_B, mask_BT, cliprange=eps)
    logp, old, ref = (rows_of(x, lengths) for x in (logp_BT, old_BT, ref_BT))
    half = len(lengths) // 2
    for group in (slice(0, half), slice(half, None)):
        rewards = reward_B[group].tolist()
        for b in range(half):
            adv = reference.advantage(rewards, old[group], ref[group], b, coef=0.3)
            expected = reference.loss(logp[group][b], old[group][b], adv, eps=eps)
            assert float(adv_B[group][b]) == pytest.approx(adv) and float(got_B[group][b]) == pytest.approx(expected)


def test_at_ratio_one_the_gradient_is_that_of_the_policy_gradient() -> None:
    policy = table()
    logp_BT = policy.score(responses(IDS), want={"logp"}).logp_BT
    adv_B = torch.tensor([1.5, -1.5, 1.75, -1.75], dtype=torch.float64)  # R minus the other's
    logp_B = (logp_BT * responses(IDS).mask_BT).sum(1)
    (expected,) = torch.autograd.grad(-(logp_B * adv_B).mean(), policy.logits_TV)
    torch.testing.assert_close(gradient(policy, REWARDS, kl_coef=0.0), expected)


def test_the_divergence_is_taken_off_the_rewards() -> None:
    policy, reference = table(), table(seed=1)
    mask_BT = responses(IDS).mask_BT
    ours, theirs = (p.score(responses(IDS), want={"logp"}).logp_BT.detach() for p in (policy, reference))
    kl_B = ((ours - theirs) * mask_BT).sum(1)
    paid = [r - 0.7 * k for r, k in zip(REWARDS, kl_B.tolist(), strict=True)]
    expected = gradient(policy, paid, kl_coef=0.0)
    torch.testing.assert_close(gradient(policy, REWARDS, reference=reference, kl_coef=0.7), expected)
    assert (expected - gradient(policy, REWARDS, kl_coef=0.0)).abs().max() > 0.1


def test_equal_rewards_teach_nothing() -> None:
    assert gradient(table(), [1.5, 1.5, -3.0, -3.0], reference=table(seed=1), kl_coef=0.0).abs().max() < 1e-12


def test_ppo_without_a_critic_and_with_the_others_as_baseline_has_this_gradient() -> None:
    """Where V = 0 and gamma = lam = 1 every token has the advantage of its response; PPO averages over tokens."""
    policy = table()
    policy.value_T.data.zero_()
    models = models_of(policy, responses(IDS, index=PAIRS), REWARDS)
    config = PPOConfig(whiten=False, kl="off", value_warmup_steps=0, lam=1.0, vf_coef=0.0)
    rollout, _ = PPO(config).collect(models, models.sample(None, 0), 0)
    algorithm = PPO(config)
    terms_BT = algorithm.loss(models, rollout).terms * rollout.mask_BT
    (ppo,) = torch.autograd.grad(terms_BT.sum(), policy.logits_TV)
    torch.testing.assert_close(ppo / len(IDS), gradient(policy, REWARDS, kl_coef=0.0), atol=1e-6, rtol=1e-6)


def test_the_baseline_leaves_the_expected_gradient_as_it_is() -> None:
    """A bandit with three arms, two samples a prompt: the average over all nine outcomes is -grad E[R]."""
    policy, arms = table(1, 3), torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    pairs = [(a, b) for a in range(3) for b in range(3)]
    made = responses([[arm] for pair in pairs for arm in pair], index=[i for i in range(9) for _ in range(2)])
    models = models_of(policy, made, arms[made.ids_BT[:, 0]].tolist())
    algorithm = RLOO(RLOOConfig(kl_coef=0.0))
    batch, _ = algorithm.collect(models, made, 0)
    probability = policy.logits_TV[0].detach().softmax(-1)
    weight_B = torch.tensor([float(probability[a] * probability[b]) / 2 for a, b in pairs for _ in range(2)])
    (algorithm.loss(models, batch).terms * weight_B).sum().backward()
    (expected,) = torch.autograd.grad(-(policy.logits_TV[0].softmax(-1) * arms).sum(), policy.logits_TV)
    torch.testing.assert_close(policy.logits_TV.grad, expected, atol=1e-6, rtol=1e-6)


def test_what_is_constant_gets_no_gradient() -> None:
    logp_BT, old_BT = torch.rand(2, 3, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    reward_B, adv_B = torch.rand(2, requires_grad=True), torch.rand(2, requires_grad=True)
    assert not rloo_advantage(reward_B, old_BT.sum(1), torch.zeros(2), kl_coef=0.1).requires_grad
    rloo_loss(logp_BT, old_BT, adv_B, torch.ones(2, 3), cliprange=9.0).sum().backward()
    assert logp_BT.grad is not None and [old_BT.grad, adv_B.grad] == [None, None]
    models = models_of(table(), responses(IDS, index=PAIRS), REWARDS)
    batch, _ = RLOO(RLOOConfig()).collect(models, models.sample(None, 0), 0)
    assert not any(tensor.requires_grad for tensor in batch.flat().values())


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    logp_BT = -torch.rand(3, 4, generator=generator, dtype=torch.float64)
    old_BT = logp_BT + 0.02 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    adv_B, mask_BT = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), torch.tensor([[1, 1, 0, 0]] * 3)
    logp_BT.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rloo_loss(x, old_BT, adv_B, mask_BT, cliprange=0.5), (logp_BT,))


def test_the_log_counts_responses_that_are_clipped_and_tokens_that_have_moved() -> None:
    policy = table()
    models = models_of(policy, responses(IDS, index=PAIRS), REWARDS)
    algorithm = RLOO(RLOOConfig(cliprange=0.2))
    batch, stats = algorithm.collect(models, models.sample(None, 0), 0)
    assert stats["reward"] == pytest.approx(sum(REWARDS) / 4) and stats["objective/kl"] == 0.0
    assert stats["completions/mean_length"] == 2.0
    before_BT = batch.logp_old_BT
    with torch.no_grad():
        policy.logits_TV += 0.3 * table(seed=2).logits_TV
    logp_BT = policy.score(batch, want={"logp"}).logp_BT
    found = algorithm.loss(models, batch).diagnostics
    moved = rows_of(logp_BT.detach() - before_BT, batch.length_B.tolist())
    clipped, mask = found["policy/clipfrac_avg"]
    assert clipped.tolist() == [float(abs(math.exp(sum(row)) - 1) > 0.2) for row in moved] and mask.shape == (4,)
    assert 0 < clipped.sum() < 4
    ratio_BT, mask_BT = found["val/ratio"]
    assert ratio_BT[mask_BT.bool()].tolist() == pytest.approx([math.exp(x) for row in moved for x in row])
    squares_BT, _ = found["policy/approxkl_avg"]
    assert squares_BT[mask_BT.bool()].tolist() == pytest.approx([x * x / 2 for row in moved for x in row])
