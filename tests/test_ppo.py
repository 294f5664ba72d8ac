"""Proximal policy optimisation on policies that are tables: the sheet's numbers, identities, what is constant."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tables import Table, models_of, responses, table, value

from homestretch.algorithms.base import Models
from homestretch.algorithms.ppo import (
    PPO,
    lookahead_advantages,
    lookahead_policy_loss,
    lookahead_weights,
    ppo_policy_loss,
)
from homestretch.batch import RolloutBatch
from homestretch.config.ppo import PPOConfig

PLAIN = {"whiten": False, "reward_baseline": "none", "kl": "off", "value_warmup_steps": 0, "num_generations": 1}


def collected(models: Models, **changes) -> tuple[PPO, RolloutBatch, dict[str, float]]:
    plain = {name: value for name, value in PLAIN.items() if name != "whiten" or "lookahead_k" not in changes}
    algorithm = PPO(PPOConfig(**(plain | changes)))
    rollout, stats = algorithm.collect(models, models.sample(None, 0), 0)
    return algorithm, rollout, stats


def test_whitened_advantages_of_the_sheet() -> None:
    policy = Table(torch.zeros(3, 2, dtype=torch.float64), torch.tensor([0.2, 0.4, 0.5], dtype=torch.float64))
    models = models_of(policy, responses([[1, 1, 0]]), [1.0])
    _, rollout, _ = collected(models, whiten=True)
    assert rollout.adv_BT[0].tolist() == pytest.approx([1.350358, -0.311310, -1.039048], abs=1e-6)
    assert rollout.ret_BT[0].tolist() == pytest.approx([0.94625, 0.975, 1.0])


def test_whitening_counts_tokens_and_not_padding() -> None:
    _, rollout, _ = collected(models_of(table(), responses(IDS), REWARDS), whiten=True)
    mask = rollout.mask_BT.bool()
    adv_N = rollout.adv_BT[mask]
    assert float(adv_N.mean()) == pytest.approx(0, abs=1e-7) and float(adv_N.std(unbiased=False)) == pytest.approx(1)
    assert not rollout.adv_BT[~mask].any() and not mask.all()


def test_the_last_token_earns_what_its_sample_has_over_the_others_of_its_prompt() -> None:
    policy = Table(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    models = models_of(policy, responses([[1, 0], [1, 1], [0]], index=[4, 4, 5]), [1.0, 4.0, 7.0])
    for changes, last in (({"reward_baseline": "prompt"}, [-3.0, 3.0, 7.0]), ({}, [1.0, 4.0, 7.0])):
        _, rollout, _ = collected(models, **changes)
        assert [float(rollout.ret_BT[i, n]) for i, n in enumerate([1, 1, 0])] == last
        assert rollout.reward_B is not None and rollout.reward_B.tolist() == [1.0, 4.0, 7.0]


def test_divergence_goes_into_the_rewards_of_the_sheet() -> None:
    policy = Table(torch.zeros(3, 2, dtype=torch.float64), torch.tensor([0.2, 0.4, 0.5], dtype=torch.float64))
    p_ref = 0.5 * torch.tensor([-0.1, 0.2, -0.3], dtype=torch.float64).exp()
    reference = Table(torch.stack([1 - p_ref, p_ref], -1).log(), policy.value_T)
    models = models_of(policy, responses([[1, 1, 1]]), [1.0], reference)
    _, rollout, stats = collected(models, kl="fixed", kl_coef=0.05)
    assert rollout.adv_BT[0].tolist() == pytest.approx([0.7372125, 0.57075, 0.485])
    assert stats["objective/kl"] == pytest.approx(0.2) and stats["objective/kl_coef"] == 0.05


IDS = [[1, 4, 2], [3], [0, 2]]
REWARDS = [1.0, -0.5, 2.0]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("kl", ["off", "fixed"])
def test_lookahead_over_the_sampled_token_alone_is_the_one_step_error(kl: str, elsewhere: bool) -> None:
    """k = 1 with baseline `value` equals R1 with lam = 0, in value and gradient, also away from ratio 1, and where
    another engine drew the tokens with other probabilities."""
    results, made = [], responses(IDS)
    if elsewhere:
        made = replace(made, logp_drawn_BT=torch.tensor([[-0.5, -2.0, -1.0], [-3.0, 0, 0], [-1.5, -0.7, 0]]).double())
    for changes in ({"lam": 0.0}, {"lookahead_k": 1}):
        policy, reference = table(), table(seed=1)
        models = models_of(policy, made, REWARDS, reference)
        algorithm, rollout, _ = collected(models, kl=kl, gamma=0.9, **changes)
        assert (rollout.candidate_BTK is None) == (changes == {"lam": 0.0})
        with torch.no_grad():
            policy.logits_TV += 0.1 * table(seed=2).logits_TV
        algorithm.config = algorithm.config.model_copy(update={"vf_coef": 0.0})
        loss = value(algorithm.loss(models, rollout))
        loss.backward()
        results.append((loss.detach(), policy.logits_TV.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])
    assert results[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("ended", [True, False])
def test_lookahead_advantages_by_hand(ended: bool) -> None:
    """Every candidate has its own divergence. The reward goes to the sampled last token, and where the text was cut to
    every other one there too that would not have ended it: 7 is no token, so there are two of them or one."""
    policy, reference = table(2, 4), table(2, 4, seed=1)
    made = replace(responses([[1, 2]]), terminated_B=torch.tensor([ended]))
    end = next(i for i in policy.logits_TV[1].topk(3).indices.tolist() if i != 2)
    models = replace(models_of(policy, made, [3.0], reference), end_ids=(end, 7))
    _, rollout, _ = collected(models, kl="fixed", kl_coef=0.3, gamma=0.9, lookahead_k=3)
    ours, theirs = (one.logits_TV.detach().log_softmax(-1) for one in (policy, reference))
    value_T = policy.value_T.tolist()
    for t, sampled in enumerate([1, 2]):
        assert sampled in rollout.candidate_BTK[0, t].tolist()
        for j, token in enumerate(rollout.candidate_BTK[0, t].tolist()):
            behind = 0.9 * value_T[1] if t == 0 else 0.0
            behind = 3.0 if (t, token) == (1, 2) or (t == 1 and not ended and token != end) else behind
            expected = behind - 0.3 * float(ours[t, token] - theirs[t, token]) - value_T[t]
            assert float(rollout.adv_BTK[0, t, j]) == pytest.approx(expected)


def test_at_ratio_one_the_gradient_is_that_of_the_policy_gradient() -> None:
    logp_BT = torch.tensor([[-0.5, -1.0], [-2.0, -0.1]], requires_grad=True)
    adv_BT = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    loss_BT = ppo_policy_loss(logp_BT, logp_BT.detach(), adv_BT, cliprange=0.2)
    torch.testing.assert_close(loss_BT, -adv_BT)
    (got,) = torch.autograd.grad(loss_BT.sum(), logp_BT)
    (plain,) = torch.autograd.grad(-(logp_BT * adv_BT).sum(), logp_BT)
    torch.testing.assert_close(got, plain)


@pytest.mark.parametrize("lookahead", [False, True])
def test_beyond_the_interval_the_gradient_is_zero(lookahead: bool) -> None:
    ratio = torch.tensor([[1.5, 0.5, 1.5, 0.5]])
    logp = ratio.log().requires_grad_()
    adv = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    if lookahead:
        one = torch.ones(1, 4, 1)
        loss = lookahead_policy_loss(logp[..., None], 0 * one, adv[..., None], one, cliprange=0.2)
    else:
        loss = ppo_policy_loss(logp, torch.zeros(1, 4), adv, cliprange=0.2)
    assert loss[0].tolist() == pytest.approx([-1.2, -0.5, 1.5, 0.8])
    loss.sum().backward()
    assert logp.grad is not None and logp.grad[0].tolist() == pytest.approx([0.0, -0.5, 1.5, 0.0])


def test_what_is_constant_gets_no_gradient() -> None:
    live = [torch.rand(1, 2, 3, requires_grad=True) for _ in range(5)]
    logp, old, adv, weight, q = live
    assert not lookahead_weights(old).requires_grad
    assert not lookahead_advantages(q, old[..., 0], weight, baseline="set").requires_grad
    lookahead_policy_loss(logp, old, adv, weight.detach(), cliprange=0.2).sum().backward()
    ppo_policy_loss(logp[..., 0], old[..., 0], adv[..., 0], cliprange=0.2).sum().backward()
    assert logp.grad is not None and [old.grad, adv.grad] == [None, None]
    policy = table()
    _, rollout, _ = collected(models_of(policy, responses(IDS), REWARDS), lookahead_k=2)
    assert not any(tensor.requires_grad for tensor in rollout.flat().values())


def test_the_loss_adds_value_and_entropy_with_their_weights() -> None:
    policy = table()
    models = models_of(policy, responses(IDS), REWARDS)
    algorithm, rollout, _ = collected(models, vf_coef=0.3, ent_coef=0.7, cliprange_value=0.1)
    with torch.no_grad():
        policy.value_T += 0.4
    terms = algorithm.loss(models, rollout)
    scored, mask = policy.score(rollout, want=()), rollout.mask_BT.bool()
    far, near = (scored.value_BT - rollout.ret_BT) ** 2, (rollout.value_old_BT + 0.1 - rollout.ret_BT) ** 2
    expected = -rollout.adv_BT + 0.3 * 0.5 * torch.maximum(far, near) - 0.7 * scored.entropy_BT
    torch.testing.assert_close(terms.terms[mask], expected[mask])


@pytest.mark.parametrize("baseline", ["prompt", "none"])
def test_the_baseline_leaves_the_expected_gradient_as_it_is(baseline: str) -> None:
    """A bandit with three arms, two samples a prompt: the average over all nine outcomes is -grad E[R]."""
    policy, arms = table(1, 3), torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    policy.value_T.data.zero_()
    pairs = [(a, b) for a in range(3) for b in range(3)]
    made = responses([[arm] for pair in pairs for arm in pair], index=[i for i in range(9) for _ in range(2)])
    models = models_of(policy, made, arms[made.ids_BT[:, 0]].tolist())
    algorithm, rollout, stats = collected(models, reward_baseline=baseline, vf_coef=0.0)
    assert stats["reward"] == pytest.approx(float(arms[made.ids_BT[:, 0]].mean()))
    probability = policy.logits_TV[0].detach().softmax(-1)
    weight_B = torch.tensor([float(probability[a] * probability[b]) / 2 for a, b in pairs for _ in range(2)])
    (algorithm.loss(models, rollout).terms[:, 0] * weight_B).sum().backward()
    (expected,) = torch.autograd.grad(-(policy.logits_TV[0].softmax(-1) * arms).sum(), policy.logits_TV)
    torch.testing.assert_close(policy.logits_TV.grad, expected, atol=1e-6, rtol=1e-6)


def test_the_adaptive_coefficient_changes_before_the_next_round_and_is_saved() -> None:
    policy, reference = table(), table(seed=1)
    models = models_of(policy, responses(IDS), REWARDS, reference)
    config = PPOConfig(**(PLAIN | {"kl": "adaptive", "kl_coef": 0.2, "kl_target": 0.01, "kl_horizon": 10}))
    whole = PPO(config)
    stream = whole.stream(models, [(n, responses(IDS)) for n in range(2)])
    first = next(stream)
    assert first.stats["objective/kl_coef"] == 0.2
    saved = whole.state()
    assert saved["kl_coef"] != 0.2
    error = min(max(first.stats["objective/kl"] / 0.01 - 1, -0.2), 0.2)
    assert saved["kl_coef"] == pytest.approx(0.2 * (1 + error * 3 / 10))
    resumed = PPO(config)
    resumed.load_state(saved)
    second, again = next(stream), next(resumed.stream(models, [(1, responses(IDS))]))
    assert second.stats == again.stats and second.stats["objective/kl_coef"] == saved["kl_coef"]
    assert whole.state() == resumed.state()


def test_a_fixed_or_absent_penalty_stays() -> None:
    models = models_of(table(), responses(IDS), REWARDS, table(seed=1))
    for kl, coef in (("fixed", 0.2), ("off", 0.0)):
        algorithm = PPO(PPOConfig(**(PLAIN | {"kl": kl, "kl_coef": 0.2})))
        assert next(algorithm.stream(models, [(0, responses(IDS))])).stats["objective/kl_coef"] == coef
        assert algorithm.state()["kl_coef"] == coef


def test_each_epoch_replays_every_row_once_in_an_order_of_its_round() -> None:
    models = models_of(table(), responses(IDS), REWARDS)
    algorithm = PPO(PPOConfig(**(PLAIN | {"num_ppo_epochs": 3, "train_batch_size": 2})))
    made = next(algorithm.stream(models, [(4, responses(IDS))]))
    sizes, rows = zip(*[(len(b), b.index_B.tolist()) for b in made.updates], strict=True)
    assert sizes == (2, 1) * 3
    assert [sorted(rows[i] + rows[i + 1]) for i in (0, 2, 4)] == [[0, 1, 2]] * 3


def test_the_log_counts_ends_lengths_and_what_the_value_explains() -> None:
    policy = table()
    made = replace(responses(IDS), terminated_B=torch.tensor([False, True, True]))
    _, rollout, stats = collected(models_of(policy, made, REWARDS))
    assert stats["completions/mean_length"] == 2.0 and stats["completions/clipped_ratio"] == pytest.approx(1 / 3)
    assert stats["reward"] == pytest.approx(2.5 / 3) and stats["objective/scores"] == pytest.approx(2.5 / 3)
    mask = rollout.mask_BT.bool()
    ret, error = rollout.ret_BT[mask], (rollout.ret_BT - rollout.value_old_BT)[mask]
    assert stats["val/explained_variance"] == pytest.approx(
        1 - float(error.var(unbiased=False) / ret.var(unbiased=False))
    )
    assert math.isfinite(stats["objective/entropy"])
