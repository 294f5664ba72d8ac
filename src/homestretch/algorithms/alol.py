"""Advantage-based offline policy gradient on stored text (A-LoL, "Leftover Lunch": Baheti et al., ICLR 2024,
arXiv:2305.14718).

    grad J = -E_D[ (R - V(x)) rho grad ln p(y | x) ],     rho = p(y | x) / p_ref(y | x)                  (1)
    a_lol            w_t = max(A, 0) clip(rho),     rho   = exp(sum_t ln p_t - sum_t ln p_ref,t)         (2)
    a_lol_seq        w_t = max(A, 0) clip(rho_t),   rho_t = exp(ln p_t - ln p_ref,t)                     (3)
    a_lol_ref_free   w_t = max(A, 0)                                                                     (4)
    a_lol_kl         w_t = max(A, 0),   beta > 0 in eq. 7                                                (5)
    r_lol            w_t = R clip(rho), rho as in eq. 2                                                  (6)
    L = -(1/B) sum_b sum_t m_bt (w_bt ln p_bt - beta (ln p_bt - ln p_ref,bt))                            (7)

Notation    A = R - V(x): adv_B, with V from the stage `value`    R: reward_B    clip(z): z within [1 - eps, 1 + eps]
            p_ref: the model before this stage    m: 1 on response tokens, end marker included
Constants   A, rho, p_ref: no gradient passes through w, so the printed loss is not the objective
Averaging   sum over tokens, mean over examples: a response is one action
Deviations  1. `a_lol_seq` is a ratio for each token, despite its name (authors' code).
            2. max(A, 0) in every form (`clamp_advantage`); the authors' 7B script leaves it out of eq. 4.
            3. The divergence is the difference of log-probabilities; the reviewed manuscript printed their quotient.
               Its gradient lowers every advantage by beta: responses with A < beta are pushed down.
            4. A is computed once, with V in eval mode; their script computes it again with dropout on.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import AdvantageBatch, LossTerms
from homestretch.config.alol import ALOLConfig
from homestretch.ops.divergences import kl_k1

Ratio = Literal["sequence", "token", "none"]
RATIO: dict[str, Ratio] = {
    "a_lol": "sequence",
    "r_lol": "sequence",
    "a_lol_seq": "token",
    "a_lol_ref_free": "none",
    "a_lol_kl": "none",
}


def importance_ratio(logp_BT: Tensor, logp_ref_BT: Tensor | None, mask_BT: Tensor, *, ratio: Ratio) -> Tensor:
    """rho of eq. 2 or 3 for each token (B, T), > 0 and a constant; 1 for `none` and, by token, where the mask is 0."""
    if ratio == "none" or logp_ref_BT is None:
        return torch.ones_like(logp_BT).detach()
    log_ratio_BT = torch.where(mask_BT.bool(), logp_BT - logp_ref_BT, 0.0).detach()
    if ratio == "sequence":
        log_ratio_BT = log_ratio_BT.sum(1, keepdim=True).expand_as(logp_BT)
    return log_ratio_BT.exp()


def alol_weight(
    logp_BT: Tensor,
    logp_ref_BT: Tensor | None,
    adv_B: Tensor,
    mask_BT: Tensor,
    *,
    ratio: Ratio,
    cliprange: float | None,
    clamp_advantage: bool,
) -> Tensor:
    """w of eq. 2 to 6 for each token (B, T), a constant.

    logp_BT, logp_ref_BT   (B, T) log-probabilities of the response under policy and reference, nats, <= 0; the latter
                           may be None for `none`
    adv_B                  (B,) A, or R for eq. 6, in units of reward
    mask_BT                (B, T) 1 on response tokens
    ratio                  rho of the whole `sequence`, of each `token`, or `none`, which is 1
    cliprange              eps > 0; None does not clip
    clamp_advantage        whether a negative advantage counts as 0
    """
    ratio_BT = importance_ratio(logp_BT, logp_ref_BT, mask_BT, ratio=ratio)
    if cliprange is not None:
        ratio_BT = ratio_BT.clamp(1 - cliprange, 1 + cliprange)
    credit_B = adv_B.clamp(min=0) if clamp_advantage else adv_B
    return (credit_B[:, None] * ratio_BT).detach()


def alol_loss(
    logp_BT: Tensor, weight_BT: Tensor, mask_BT: Tensor, logp_ref_BT: Tensor | None = None, *, beta: float = 0.0
) -> Tensor:
    """Terms of eq. 7 for each token (B, T), 0 where the mask is 0; the loss of an example is their sum.

    logp_BT       (B, T) log-probabilities of the response under the policy, nats, <= 0
    weight_BT     (B, T) w, a constant
    mask_BT       (B, T) 1 on response tokens
    logp_ref_BT   (B, T) those under the reference; read only where beta is not 0
    beta          weight of the divergence from the reference, >= 0
    """
    objective_BT = weight_BT.detach() * logp_BT
    if logp_ref_BT is not None and beta:
        objective_BT = objective_BT - beta * kl_k1(logp_BT, logp_ref_BT.detach())
    return -torch.where(mask_BT.bool(), objective_BT, 0.0)


class ALOL(Offline):
    """Learns stored responses by how much more they earn than the reference would."""

    def __init__(self, config: ALOLConfig) -> None:
        self.config = config
        credit = {"rewards"} if config.variant == "r_lol" else {"rewards", "value"}
        reference = set() if config.variant == "a_lol_ref_free" else {"reference"}
        self.needs = frozenset({"pairs"} | credit | reference)

    def loss(self, models: Models, batch: AdvantageBatch) -> LossTerms:
        """Eq. 7 on one batch, one term an example."""
        config, ratio = self.config, RATIO[self.config.variant]
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
        credit_B = batch.reward_B if config.variant == "r_lol" else batch.adv_B
        assert logp_BT is not None and credit_B is not None
        assert batch.logp_ref_BT is not None or "reference" not in self.needs
        weight_BT = alol_weight(
            logp_BT, batch.logp_ref_BT, credit_B, batch.mask_BT,
            ratio=ratio, cliprange=config.cliprange, clamp_advantage=config.clamp_advantage,
        )  # fmt: skip
        beta = config.beta if config.variant == "a_lol_kl" else 0.0
        terms_B = alol_loss(logp_BT, weight_BT, batch.mask_BT, batch.logp_ref_BT, beta=beta).sum(1)
        ones_B = torch.ones_like(terms_B)
        diagnostics = alol_diagnostics(logp_BT.detach(), batch, credit_B, ratio=ratio, cliprange=config.cliprange)
        return LossTerms(terms=terms_B, mask=ones_B, average="sequence", diagnostics=diagnostics)


def alol_diagnostics(
    logp_BT: Tensor, batch: AdvantageBatch, credit_B: Tensor, *, ratio: Ratio, cliprange: float | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """What the log says of an update, unreduced."""
    ratio_BT = importance_ratio(logp_BT, batch.logp_ref_BT, batch.mask_BT, ratio=ratio)
    outside_BT = (ratio_BT - 1).abs() > (torch.inf if cliprange is None else cliprange)
    found = {"nll": (-logp_BT, batch.mask_BT), "advantage": (credit_B, torch.ones_like(credit_B))}
    if ratio != "none":
        found |= {"clipped": (outside_BT.float(), batch.mask_BT)}
    if batch.reward_B is not None:
        found |= {"reward": (batch.reward_B, torch.ones_like(credit_B))}
    return found
