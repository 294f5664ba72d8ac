"""Weighted behaviour cloning: maximum likelihood with a reward as the weight of each example (as a baseline of A-LoL:
Baheti et al., ICLR 2024, arXiv:2305.14718).

    L = -(1/B) sum_b R(x_b, y_b) sum_t m_bt ln p(y_bt | x_b, y_b,<t)                                     (1)

Notation    R: reward of the whole response, reward_B, >= 0    m: 1 on response tokens, end marker included
Averaging   sum over tokens, mean over examples: a response counts as one action (sheet 2)
Deviations  none; R = 1 on every row is maximum likelihood summed over tokens
"""

from __future__ import annotations

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import LossTerms, SequenceBatch


def wbc_loss(logp_BT: Tensor, reward_B: Tensor, mask_BT: Tensor) -> Tensor:
    """Terms of eq. 1 for each token (B, T), 0 where the mask is 0; the loss of an example is their sum.

    logp_BT    (B, T) log-probabilities of the response tokens, nats, <= 0
    reward_B   (B,) rewards, >= 0, in any unit; a constant
    mask_BT    (B, T) 1 on response tokens
    """
    logp_BT = torch.where(mask_BT.bool(), logp_BT, 0.0)
    return -(reward_B.detach()[:, None] * logp_BT)


class WBC(Offline):
    """Maximum likelihood, weighted by stored rewards."""

    needs = frozenset({"pairs", "rewards"})

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        """Eq. 1 on one batch, one term an example."""
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
        assert logp_BT is not None and batch.reward_B is not None
        terms_B = wbc_loss(logp_BT, batch.reward_B, batch.mask_BT).sum(1)
        ones_B = torch.ones_like(terms_B)
        diagnostics = {"nll": (-logp_BT.detach(), batch.mask_BT), "reward": (batch.reward_B, ones_B)}
        return LossTerms(terms=terms_B, mask=ones_B, average="sequence", diagnostics=diagnostics)
