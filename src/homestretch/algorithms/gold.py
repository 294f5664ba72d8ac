"""Reward GOLD: off-policy policy gradient on stored text, each token weighted by its own probability (Pang and He,
ICLR 2021, arXiv:2009.07839; with one reward a response as a baseline of A-LoL: Baheti et al., arXiv:2305.14718).

    w_bt = R(x_b, y_b) max(p(y_bt | x_b, y_b,<t), u)                                                     (1)
    L    = -(1/B) sum_b sum_t m_bt w_bt ln p(y_bt | x_b, y_b,<t)                                         (2)

Notation    R: reward of the whole response, reward_B, >= 0    u: floor    m: 1 on response tokens
Constants   w: no gradient passes through the probability in it
Averaging   sum over tokens, mean over examples (sheet 2)
Deviations  the form of A-LoL's authors: the reward multiplies the whole response and does not accumulate over its
            tokens, and the reference does not smooth the weights
"""

from __future__ import annotations

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import LossTerms, SequenceBatch
from homestretch.config.gold import GOLDConfig


def gold_weight(logp_BT: Tensor, reward_B: Tensor, *, floor: float) -> Tensor:
    """w of eq. 1 (B, T), a constant; arguments as in `gold_loss`."""
    prob_BT = logp_BT.exp().clamp(min=floor)  # max(p, u)
    return (reward_B[:, None] * prob_BT).detach()


def gold_loss(logp_BT: Tensor, reward_B: Tensor, mask_BT: Tensor, *, floor: float) -> Tensor:
    """Terms of eq. 2 for each token (B, T), 0 where the mask is 0; the loss of an example is their sum.

    logp_BT    (B, T) log-probabilities of the response tokens, nats, <= 0
    reward_B   (B,) rewards, >= 0, in any unit; a constant
    mask_BT    (B, T) 1 on response tokens
    floor      u in (0, 1], the least weight of a token; at 1 every weight is the reward
    """
    logp_BT = torch.where(mask_BT.bool(), logp_BT, 0.0)
    return -(gold_weight(logp_BT, reward_B, floor=floor) * logp_BT)


class GOLD(Offline):
    """Maximum likelihood, weighted by stored rewards and by the model's own probabilities."""

    needs = frozenset({"pairs", "rewards"})

    def __init__(self, config: GOLDConfig) -> None:
        self.config = config

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        """Eq. 2 on one batch, one term an example."""
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
        assert logp_BT is not None and batch.reward_B is not None
        terms_B = gold_loss(logp_BT, batch.reward_B, batch.mask_BT, floor=self.config.floor).sum(1)
        ones_B = torch.ones_like(terms_B)
        floored_BT = (logp_BT.detach().exp() < self.config.floor).float()
        diagnostics = {
            "nll": (-logp_BT.detach(), batch.mask_BT),
            "reward": (batch.reward_B, ones_B),
            "floored": (floored_BT, batch.mask_BT),
        }
        return LossTerms(terms=terms_B, mask=ones_B, average="sequence", diagnostics=diagnostics)
