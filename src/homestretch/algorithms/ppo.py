"""Proximal policy optimisation against a terminal reward with a length term (Solway 2024, arXiv:2408.16753; PPO:
Schulman et al. 2017, arXiv:1707.06347).

    r_t   = 1[t = L] R(x, y) - beta k_t + F_t                            reward of token t               (1)
    d_t   = r_t + gamma V_old(s_t+1) - V_old(s_t),   V := 0 behind the last token                        (2)
    A_t   = sum_k (gamma lam)^k d_t+k,   G_t = A_t + V_old(s_t),   A^ = whiten(A)                        (3)
    rho_t = exp(ln p(y_t | s_t) - ln p_old(y_t | s_t))                                                   (4)
    L     = -min(rho A^, clip(rho, 1 +- eps) A^) + c_v L_V - c_e H                                       (5)
    L_V   = 1/2 max((V - G)^2, (clip(V, V_old +- eps_v) - G)^2)                                          (6)

Strategy R2 (`lookahead_k`) uses that the next state of a text is known: over the k most probable tokens a of s_t,

    w_a = p_old(a | s_t) / sum_K p_old,   A_a = r(s_t, a) + gamma V_old(s_t a) - b_t                     (7)
    L_pi = -sum_a w_a min(rho_a A_a, clip(rho_a, 1 +- eps) A_a)                                          (8)

Notation    R: shaped terminal reward (`rewards.shaping`)    k_t: KL estimate against the frozen start policy
            F_t: potential-based shaping (eq. 4 of `ops.returns`), 0 where there is no potential
            b_t: V_old(s_t), or sum_a w_a Q_a with baseline `set`
Constants   A, G, w, p_old, V_old and b carry no gradient
Deviations  1. We know the paper by its abstract and by summaries; this is the reading of section 2 of our sheet.
            2. Under R2 the terminal reward of an end marker that was not sampled is taken as the value head's
               estimate of the state behind it; only sampled end markers get the reward model's own. At the length limit
               every other candidate gets that of the text with the sampled token.
            3. R is centred by the other samples of its prompt (`reward_baseline`), as in RLOO (Ahmadian et al. 2024,
               arXiv:2402.14740): a value head that has seen a few hundred samples cannot know a prompt's level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Round
from homestretch.algorithms.rollouts import (
    Diagnostics,
    behaviour,
    clipped_share,
    ratio_diagnostics,
    replay,
    sample_stats,
    token_weights,
)
from homestretch.batch import LossTerms, RolloutBatch, Scored, SequenceBatch
from homestretch.config.ppo import PPOConfig
from homestretch.ops.divergences import kl_k1, kl_k3
from homestretch.ops.groups import others_mean
from homestretch.ops.ratios import clipped_surrogate, clipped_value_loss
from homestretch.ops.reduce import whiten
from homestretch.ops.returns import gae, shaping_rewards, token_rewards
from homestretch.ops.schedules import adapt_kl_coef

ESTIMATORS = {"k1": kl_k1, "k3": kl_k3}


def ppo_policy_loss(logp_BT: Tensor, logp_old_BT: Tensor, adv_BT: Tensor, *, cliprange: float) -> Tensor:
    """Policy part of eq. 5 for each token (B, T); `adv_BT` is a constant."""
    ratio_BT = (logp_BT - logp_old_BT.detach()).exp()  # eq. 4
    return -clipped_surrogate(ratio_BT, adv_BT, cliprange=cliprange)


def lookahead_weights(logp_old_BTK: Tensor) -> Tensor:
    """w of eq. 7: behaviour probabilities of the candidates, normalised over them; a constant (B, T, K)."""
    return logp_old_BTK.softmax(-1).detach()


def lookahead_advantages(
    q_BTK: Tensor, value_BT: Tensor, weight_BTK: Tensor, *, baseline: Literal["value", "set"]
) -> Tensor:
    """A of eq. 7 (B, T, K), a constant. Raises ValueError for baseline `set` with one candidate, where it is zero."""
    if baseline == "set" and q_BTK.shape[-1] == 1:
        raise ValueError("the baseline `set` needs at least two candidates")
    b_BT = value_BT if baseline == "value" else (weight_BTK * q_BTK).sum(-1)
    return (q_BTK - b_BT[..., None]).detach()


def lookahead_policy_loss(
    logp_BTK: Tensor, logp_old_BTK: Tensor, adv_BTK: Tensor, weight_BTK: Tensor, *, cliprange: float
) -> Tensor:
    """Eq. 8 for each token (B, T)."""
    ratio_BTK = (logp_BTK - logp_old_BTK.detach()).exp()
    return -(weight_BTK * clipped_surrogate(ratio_BTK, adv_BTK, cliprange=cliprange)).sum(-1)


def on_policy_states(models: Models) -> set[str]:
    """What V adds to a pass of the policy: a head on its states, or nothing where V has states of its own."""
    return {"value"} if models.value is None else set()


def with_value(scored: Scored, models: Models, batch: SequenceBatch) -> Scored:
    """`scored` as it is if V is in it, or with V (B, T) from a pass of its own."""
    if scored.value_BT is not None:
        return scored
    return replace(scored, value_BT=(models.value or models.policy).score(batch, want={"value"}).value_BT)


class PPO:
    """Collects rollouts, computes advantages once, and replays them for a few clipped epochs."""

    needs = frozenset({"pairs", "rewards", "reference", "value", "rollouts"})

    def __init__(self, config: PPOConfig) -> None:
        self.config = config
        self.kl_coef = 0.0 if config.kl == "off" else config.kl_coef
        self.round = 0

    def expect(self, rounds: float) -> None:
        """Nothing hangs on it."""

    def state(self) -> dict[str, float]:
        """The adaptive coefficient."""
        return {"kl_coef": self.kl_coef, "round": float(self.round)}

    def load_state(self, state: dict[str, float]) -> None:
        """Put back what `state` gave."""
        self.kl_coef, self.round = state["kl_coef"], int(state["round"])

    def stream(self, models: Models, batches: Iterable[tuple[int, SequenceBatch]]) -> Iterator[Round]:
        """A rollout of each batch of prompts, then its updates."""
        for number, prompts in batches:
            self.round = number
            rollout, stats = self.collect(models, prompts, number)
            if self.config.kl == "adaptive":
                self.kl_coef = adapt_kl_coef(
                    self.kl_coef,
                    stats["objective/kl"],
                    target=self.config.kl_target,
                    horizon=self.config.kl_horizon,
                    n=len(rollout),
                )
            yield Round(updates=replay(rollout, number, self.config), stats=stats)

    @torch.no_grad()
    def collect(self, models: Models, prompts: SequenceBatch, number: int) -> tuple[RolloutBatch, dict[str, float]]:
        """Responses of the current policy with eq. 1 to 3 computed, and what the log says of them."""
        assert models.sample and models.reward and models.reference
        responses = models.sample(prompts, number)
        mask_BT = responses.mask_BT
        old = behaviour(models.policy, responses, want={"logp"} | on_policy_states(models))
        old = with_value(old, models, responses)
        ref = models.reference.score(responses, want={"logp"})
        reward_B, parts = models.reward(responses)
        assert old.logp_BT is not None and old.value_BT is not None and ref.logp_BT is not None
        kl_BT = ESTIMATORS[self.config.kl_estimator](old.logp_BT, ref.logp_BT) * mask_BT
        centred_B = reward_B
        if self.config.reward_baseline == "prompt" and responses.index_B is not None:
            centred_B = reward_B - others_mean(reward_B, responses.index_B)
        reward_BT = token_rewards(centred_B, mask_BT) - self.kl_coef * kl_BT  # eq. 1
        if models.potential is not None:
            reward_BT = reward_BT + shaping_rewards(models.potential(responses), mask_BT, gamma=self.config.gamma)
        adv_BT, ret_BT = gae(reward_BT, old.value_BT, mask_BT, gamma=self.config.gamma, lam=self.config.lam)
        if self.config.whiten:
            adv_BT = whiten(adv_BT, mask_BT)
        weight_BT = token_weights(responses, old.logp_BT, cap=self.config.vllm_importance_sampling_cap)
        rollout = RolloutBatch(
            **{k: v for k, v in vars(responses).items() if k != "reward_B"},
            reward_B=reward_B,
            logp_old_BT=old.logp_BT,
            logp_ref_BT=ref.logp_BT,
            value_old_BT=old.value_BT,
            adv_BT=adv_BT * weight_BT,
            ret_BT=ret_BT,
        )
        if self.config.lookahead_k is not None:
            rollout = self._look_ahead(models, rollout, centred_B, weight_BT)
        return rollout, rollout_stats(rollout, parts) | {"objective/kl_coef": self.kl_coef}

    def _look_ahead(self, models: Models, rollout: RolloutBatch, reward_B: Tensor, drawn_BT: Tensor) -> RolloutBatch:
        # `drawn_BT` counts here too: the candidates, and the last token's reward, hang on the token that was drawn.
        assert models.candidates and models.reference and self.config.lookahead_k
        assert rollout.terminated_B is not None
        token_BTK, logp_old_BTK, value_next_BTK = models.candidates(rollout, self.config.lookahead_k)
        ref_BTK = models.reference.score(rollout, want=(), candidate_BTK=token_BTK).logp_BTK
        assert ref_BTK is not None
        q_BTK = self.config.gamma * value_next_BTK
        final_BT = token_rewards(torch.ones_like(reward_B), rollout.mask_BT).bool()
        sampled_BTK = token_BTK == rollout.ids_BT[..., None]
        # At the length limit whatever is no end marker is as cut as the sampled token, and V knows no state behind it.
        end_BTK = torch.isin(token_BTK, token_BTK.new_tensor(models.end_ids))
        last_BTK = sampled_BTK | ~(end_BTK | rollout.terminated_B[:, None, None])
        q_BTK = torch.where(final_BT[..., None] & last_BTK, reward_B[:, None, None], q_BTK)
        q_BTK = q_BTK - self.kl_coef * ESTIMATORS[self.config.kl_estimator](logp_old_BTK, ref_BTK)
        weight_BTK = lookahead_weights(logp_old_BTK)
        adv_BTK = lookahead_advantages(q_BTK, rollout.value_old_BT, weight_BTK, baseline=self.config.lookahead_baseline)
        return replace(
            rollout,
            candidate_BTK=token_BTK,
            logp_old_BTK=logp_old_BTK,
            adv_BTK=adv_BTK * drawn_BT[..., None],
            weight_BTK=weight_BTK,
        )

    def loss(self, models: Models, batch: RolloutBatch) -> LossTerms:
        """Eq. 5 on one micro-batch; in the warm-up rounds c_v L_V alone, with the policy held still."""
        if self.round < self.config.value_warmup_steps:
            return self._value_only(models, batch)
        config = self.config
        want = {"logp", "entropy"} | on_policy_states(models)
        scored = with_value(models.policy.score(batch, want=want, candidate_BTK=batch.candidate_BTK), models, batch)
        assert scored.logp_BT is not None and scored.value_BT is not None and scored.entropy_BT is not None
        if batch.candidate_BTK is None:
            policy_BT = ppo_policy_loss(scored.logp_BT, batch.logp_old_BT, batch.adv_BT, cliprange=config.cliprange)
        else:
            assert scored.logp_BTK is not None and batch.logp_old_BTK is not None
            assert batch.adv_BTK is not None and batch.weight_BTK is not None
            policy_BT = lookahead_policy_loss(
                scored.logp_BTK, batch.logp_old_BTK, batch.adv_BTK, batch.weight_BTK, cliprange=config.cliprange
            )
        value_BT = clipped_value_loss(
            scored.value_BT, batch.value_old_BT, batch.ret_BT, cliprange_value=config.cliprange_value
        )
        terms_BT = policy_BT + config.vf_coef * value_BT - config.ent_coef * scored.entropy_BT
        diagnostics = update_diagnostics(
            scored.logp_BT.detach(), scored.value_BT.detach(), batch, policy_BT.detach(), value_BT.detach(), config
        )
        return LossTerms(terms=terms_BT, mask=batch.mask_BT, average=config.average, diagnostics=diagnostics)

    def _value_only(self, models: Models, batch: RolloutBatch) -> LossTerms:
        if models.value is not None:
            value_BT = models.value.score(batch, want={"value"}).value_BT
        else:
            value_BT = models.policy.score(batch, want={"value"}, heads_only=True).value_BT
        assert value_BT is not None
        terms_BT = 0.5 * (value_BT - batch.ret_BT).square()
        diagnostics = {"loss/value_avg": (terms_BT.detach(), batch.mask_BT)}
        return LossTerms(terms=terms_BT, mask=batch.mask_BT, average=self.config.average, diagnostics=diagnostics)


def rollout_stats(rollout: RolloutBatch, parts: dict[str, Tensor]) -> dict[str, float]:
    """Numbers of one rollout, and how well the value explains its returns."""
    assert rollout.reward_B is not None
    valid = rollout.mask_BT.bool()
    ret_N, value_N = rollout.ret_BT[valid], rollout.value_old_BT[valid]
    spread = ret_N.var(unbiased=False)
    explained = float(1 - (ret_N - value_N).var(unbiased=False) / spread.clamp(min=1e-8))
    stats = sample_stats(rollout, rollout.reward_B, rollout.logp_old_BT, rollout.logp_ref_BT, parts)
    return stats | {"val/explained_variance": explained}


def update_diagnostics(
    logp_BT: Tensor, value_BT: Tensor, batch: RolloutBatch, policy_BT: Tensor, value_loss_BT: Tensor, config: PPOConfig
) -> Diagnostics:
    """What the log says of an update, unreduced."""
    ratio_BT = ((logp_BT - batch.logp_old_BT) * batch.mask_BT).exp()
    values = {
        "loss/policy_avg": policy_BT,
        "loss/value_avg": value_loss_BT,
        "val/clipfrac_avg": ((value_BT - batch.value_old_BT).abs() > config.cliprange_value).float(),
    }
    found = {name: (value, batch.mask_BT) for name, value in values.items()}
    found |= clipped_share(ratio_BT, batch.mask_BT, cliprange=config.cliprange)
    return found | ratio_diagnostics(logp_BT, batch.logp_old_BT, batch.mask_BT)
