"""Group-relative policy optimisation: rewards normalised within the samples of a prompt, clipped ratios of tokens, and
a penalty on the divergence in the loss (DeepSeekMath: Shao et al. 2024, arXiv:2402.03300).

    A_b    = (R_b - mean_j R_j) / (std_j R_j + 1e-4)         over the samples of the prompt              (1)
    rho_bt = exp(ln p_bt - ln p_old,bt)                                                                  (2)
    k_bt   = p_ref,bt / p_bt - 1 - ln(p_ref,bt / p_bt)                                                   (3)
    L      = -(1/B) sum_b (1/T_b) sum_t { min(rho_bt A_b, clip(rho_bt, 1 +- eps) A_b) - beta k_bt }      (4)

Notation    R: shaped terminal reward (`rewards.shaping`)    p_old: the policy that sampled    p_ref: the start policy
Constants   A, p_old, p_ref; k is live
Averaging   mean over responses of their means, or over all tokens of the batch (`average`)
Deviations  1. The standard deviation is that of the group itself, not its unbiased estimate; the paper does not say.
            2. The reference stays the start policy; the paper's iterative form moves it.
"""

from __future__ import annotations

from torch import Tensor

from homestretch.algorithms.base import Models
from homestretch.algorithms.groups import Groups
from homestretch.algorithms.rollouts import clipped_share, ratio_diagnostics
from homestretch.batch import AdvantageBatch, LossTerms
from homestretch.config.grpo import GRPOConfig
from homestretch.ops.divergences import kl_k3
from homestretch.ops.groups import group_scaled
from homestretch.ops.ratios import clipped_surrogate


def grpo_loss(
    logp_BT: Tensor, logp_old_BT: Tensor, logp_ref_BT: Tensor, adv_B: Tensor, *, cliprange: float, beta: float
) -> Tensor:
    """Terms of eq. 4 for each token (B, T); where there is no token they are arbitrary.

    logp_BT, logp_old_BT, logp_ref_BT   (B, T) log-probabilities under the policy now, when it sampled, and under the
                                        reference, nats, <= 0; the latter two are constants
    adv_B                               (B,) A, a constant
    cliprange                           eps > 0
    beta                                weight of k, >= 0
    """
    ratio_BT = (logp_BT - logp_old_BT.detach()).exp()  # eq. 2
    objective_BT = clipped_surrogate(ratio_BT, adv_B[:, None], cliprange=cliprange)
    penalty_BT = beta * kl_k3(logp_BT, logp_ref_BT.detach())  # eq. 3
    return -(objective_BT - penalty_BT)


class GRPO(Groups):
    """Clipped policy gradient on groups of samples, one term a token."""

    def __init__(self, config: GRPOConfig) -> None:
        super().__init__(config)
        self.config = config

    def advantage(self, reward_B: Tensor, log_ratio_BT: Tensor, index_B: Tensor) -> Tensor:
        """Eq. 1."""
        return group_scaled(reward_B, index_B, scale=self.config.scale_rewards == "group").detach()

    def loss(self, models: Models, batch: AdvantageBatch) -> LossTerms:
        """Eq. 4 on one micro-batch."""
        config = self.config
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
        assert logp_BT is not None and batch.adv_B is not None
        assert batch.logp_old_BT is not None and batch.logp_ref_BT is not None
        terms_BT = grpo_loss(
            logp_BT, batch.logp_old_BT, batch.logp_ref_BT, batch.adv_B, cliprange=config.cliprange, beta=config.beta
        )
        now_BT = logp_BT.detach()
        ratio_BT = (now_BT - batch.logp_old_BT).exp()
        diagnostics = clipped_share(ratio_BT, batch.mask_BT, cliprange=config.cliprange)
        diagnostics |= ratio_diagnostics(now_BT, batch.logp_old_BT, batch.mask_BT)
        return LossTerms(terms=terms_BT, mask=batch.mask_BT, average=config.average, diagnostics=diagnostics)
