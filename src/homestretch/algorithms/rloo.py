"""REINFORCE, leave one out: a response is one action, and the other samples of its prompt are the baseline
(Ahmadian et al., ACL 2024, arXiv:2402.14740).

    R_b   = r(x, y_b) - beta (ln p_old(y_b | x) - ln p_ref(y_b | x))                                     (1)
    A_b   = R_b - 1/(k - 1) sum_{j != b} R_j            over the k samples of the prompt                 (2)
    rho_b = exp(sum_t ln p_bt - sum_t ln p_old,bt)                                                       (3)
    L     = -(1/B) sum_b min(rho_b A_b, clip(rho_b, 1 +- eps) A_b)                                       (4)

Notation    r: shaped terminal reward (`rewards.shaping`)    p_old: the policy that sampled    p_ref: the start policy
Constants   A, p_old, p_ref
Averaging   one term a response: log-probabilities are summed over tokens, end marker included
Deviations  the paper takes one plain gradient step a rollout, which is eq. 4 at rho = 1; the ratio makes the later
            steps of a rollout right, and is clipped as in PPO
"""

from __future__ import annotations

import torch
from torch import Tensor

from homestretch.algorithms.base import Models
from homestretch.algorithms.groups import Groups
from homestretch.algorithms.rollouts import clipped_share, ratio_diagnostics
from homestretch.batch import AdvantageBatch, LossTerms
from homestretch.config.rloo import RLOOConfig
from homestretch.ops.groups import others_mean
from homestretch.ops.ratios import clipped_surrogate


def rloo_advantage(reward_B: Tensor, kl_B: Tensor, index_B: Tensor, *, kl_coef: float) -> Tensor:
    """A of eq. 2 (B,), a constant, in units of reward.

    reward_B   (B,) r of each sample
    kl_B       (B,) ln p_old - ln p_ref of the whole sample, nats
    index_B    (B,) which prompt it belongs to; a sample that is alone has the baseline 0
    kl_coef    beta >= 0
    """
    penalised_B = reward_B - kl_coef * kl_B  # eq. 1
    return (penalised_B - others_mean(penalised_B, index_B)).detach()


def sequence_ratio(logp_BT: Tensor, logp_old_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """rho of eq. 3 (B,), > 0."""
    return torch.where(mask_BT.bool(), logp_BT - logp_old_BT.detach(), 0.0).sum(1).exp()


def rloo_loss(logp_BT: Tensor, logp_old_BT: Tensor, adv_B: Tensor, mask_BT: Tensor, *, cliprange: float) -> Tensor:
    """Terms of eq. 4 for each response (B,).

    logp_BT, logp_old_BT   (B, T) log-probabilities under the policy now and when it sampled, nats, <= 0
    adv_B                  (B,) A, a constant
    mask_BT                (B, T) 1 on response tokens
    cliprange              eps > 0
    """
    ratio_B = sequence_ratio(logp_BT, logp_old_BT, mask_BT)
    return -clipped_surrogate(ratio_B, adv_B, cliprange=cliprange)


class RLOO(Groups):
    """Policy gradient on groups of samples, one term a response."""

    def __init__(self, config: RLOOConfig) -> None:
        super().__init__(config)
        self.config = config

    def advantage(self, reward_B: Tensor, log_ratio_BT: Tensor, index_B: Tensor) -> Tensor:
        """Eq. 2."""
        return rloo_advantage(reward_B, log_ratio_BT.sum(1), index_B, kl_coef=self.config.kl_coef)

    def loss(self, models: Models, batch: AdvantageBatch) -> LossTerms:
        """Eq. 4 on one micro-batch."""
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
        assert logp_BT is not None and batch.logp_old_BT is not None and batch.adv_B is not None
        terms_B = rloo_loss(logp_BT, batch.logp_old_BT, batch.adv_B, batch.mask_BT, cliprange=self.config.cliprange)
        ones_B = torch.ones_like(terms_B)
        now_BT = logp_BT.detach()
        ratio_B = sequence_ratio(now_BT, batch.logp_old_BT, batch.mask_BT)
        diagnostics = clipped_share(ratio_B, ones_B, cliprange=self.config.cliprange)
        diagnostics |= ratio_diagnostics(now_BT, batch.logp_old_BT, batch.mask_BT)
        return LossTerms(terms=terms_B, mask=ones_B, average="sequence", diagnostics=diagnostics)
