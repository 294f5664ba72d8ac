"""Direct preference optimisation: pairs of responses, without a reward model (Rafailov et al., NeurIPS 2023,
arXiv:2305.18290; label smoothing: Mitchell 2023, "A note on DPO with noisy preferences").

    h = beta [ (ln p(y+ | x) - ln p(y- | x)) - (ln p_ref(y+ | x) - ln p_ref(y- | x)) ]                   (1)
    l(h) = -(1 - eps) ln s(h) - eps ln s(-h),      s(z) = 1 / (1 + e^-z)                                 (2)
    L = (1/B) sum_b { w_k l(h_b) + sum_m w_m |o_bm| l(o_bm h_b) },    o_m = sign(r_m(y+) - r_m(y-))      (3)

With one objective, L is the mean of l(h). Eq. 3 is the loss weighting that MODPO is compared with (Zhou et al. 2024,
arXiv:2310.03708): each objective orders the same responses, and the losses of all orders are added with its share.

Notation    y+, y-: better and worse response; their log-probabilities are sums over tokens, end marker included
            p_ref: the model before this stage    eps: share of pairs whose order is taken to be wrong
            k: the objective that orders the pairs    r_m: rewards of the M other objectives    w: weights, sum 1
Constants   p_ref, r_m: computed once
Deviations  none; where the authors mix data sets that are each ordered by one objective, one data set has all orders
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import LossTerms, PairBatch
from homestretch.config.dpo import DPOConfig


def dpo_margin(
    logp_chosen_B: Tensor, logp_rejected_B: Tensor, logp_ref_chosen_B: Tensor, logp_ref_rejected_B: Tensor
) -> Tensor:
    """h / beta of eq. 1 (B,), in nats: how much more the policy prefers the better response than the reference does."""
    ref_B = logp_ref_chosen_B - logp_ref_rejected_B
    return (logp_chosen_B - logp_rejected_B) - ref_B.detach()


def dpo_loss(
    logp_chosen_B: Tensor,
    logp_rejected_B: Tensor,
    logp_ref_chosen_B: Tensor,
    logp_ref_rejected_B: Tensor,
    *,
    beta: float,
    label_smoothing: float,
) -> Tensor:
    """Terms of eq. 2 for each pair (B,), > 0; ln 2 where policy and reference prefer alike, or beta is 0.

    logp_chosen_B, logp_rejected_B           (B,) log-probabilities of whole responses under the policy, nats, <= 0
    logp_ref_chosen_B, logp_ref_rejected_B   (B,) those under the reference; constants
    beta                                     >= 0, how fast a difference of preference counts
    label_smoothing                          eps in [0, 1/2)
    """
    margin_B = dpo_margin(logp_chosen_B, logp_rejected_B, logp_ref_chosen_B, logp_ref_rejected_B)
    return _terms(beta * margin_B, label_smoothing)  # eq. 1


def weighted_dpo_loss(
    logp_chosen_B: Tensor,
    logp_rejected_B: Tensor,
    logp_ref_chosen_B: Tensor,
    logp_ref_rejected_B: Tensor,
    reward_chosen_BM: Tensor,
    reward_rejected_BM: Tensor,
    *,
    beta: float,
    label_smoothing: float,
    weight: float,
    reward_weights: Sequence[float],
) -> Tensor:
    """Terms of eq. 3 for each pair (B,), >= 0. The other arguments are those of `dpo_loss`.

    reward_chosen_BM, reward_rejected_BM   (B, M) what the other objectives give to either response; constants
    weight                                 w_k in [0, 1], of the objective by which the pairs are ordered
    reward_weights                         M weights of the others; one that gives both sides the same adds nothing
    """
    margin_B = dpo_margin(logp_chosen_B, logp_rejected_B, logp_ref_chosen_B, logp_ref_rejected_B)
    order_BM = (reward_chosen_BM - reward_rejected_BM).sign().to(margin_B.dtype).detach()
    others_BM = order_BM.abs() * _terms(beta * margin_B[:, None] * order_BM, label_smoothing)
    others_B = (others_BM * others_BM.new_tensor(reward_weights)).sum(-1)
    return weight * _terms(beta * margin_B, label_smoothing) + others_B  # eq. 3


def _terms(h: Tensor, label_smoothing: float) -> Tensor:
    """Eq. 2 of log-odds of any shape."""
    return -((1 - label_smoothing) * logsigmoid(h) + label_smoothing * logsigmoid(h.neg()))


class DPO(Offline):
    """Makes better responses more probable than worse ones, relative to the reference."""

    needs = frozenset({"pairs", "negatives", "reference"})

    def __init__(self, config: DPOConfig) -> None:
        self.config = config
        self.needs = DPO.needs | ({"rewards"} if config.rewards else set())

    def loss(self, models: Models, batch: PairBatch) -> LossTerms:
        """Eq. 2, or of several objectives eq. 3, on one batch, one term a pair."""
        sides, settings = pair_logps(models, batch), self.config
        if not settings.rewards:
            terms_B = dpo_loss(*sides, beta=settings.beta, label_smoothing=settings.label_smoothing)
            return pair_terms(terms_B, *sides)
        assert batch.reward_chosen_BM is not None and batch.reward_rejected_BM is not None
        terms_B = weighted_dpo_loss(
            *sides,
            batch.reward_chosen_BM,
            batch.reward_rejected_BM,
            beta=settings.beta,
            label_smoothing=settings.label_smoothing,
            weight=settings.weight,
            reward_weights=[term.weight for term in settings.rewards.values()],
        )
        return pair_terms(terms_B, *sides)


def pair_logps(models: Models, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities (B,) of better and worse responses under the policy, then under the reference."""
    # In one pass, because both sides share the states of their prompt.
    both = batch.chosen.joined(batch.rejected)
    logp_BT = models.policy.score(both, want={"logp"}).logp_BT
    assert logp_BT is not None
    assert batch.logp_ref_chosen_B is not None and batch.logp_ref_rejected_B is not None
    chosen_B, rejected_B = torch.where(both.mask_BT.bool(), logp_BT, 0.0).sum(1).chunk(2)
    return chosen_B, rejected_B, batch.logp_ref_chosen_B, batch.logp_ref_rejected_B


def pair_terms(
    terms_B: Tensor,
    logp_chosen_B: Tensor,
    logp_rejected_B: Tensor,
    logp_ref_chosen_B: Tensor,
    logp_ref_rejected_B: Tensor,
) -> LossTerms:
    """Terms of a loss on pairs, with what is logged of every such loss."""
    margin_B = dpo_margin(logp_chosen_B, logp_rejected_B, logp_ref_chosen_B, logp_ref_rejected_B).detach()
    ones_B = torch.ones_like(terms_B)
    diagnostics = {
        "accuracy": ((margin_B > 0).float(), ones_B),
        "margin": (margin_B, ones_B),
        "logp_chosen": (logp_chosen_B.detach(), ones_B),
        "logp_rejected": (logp_rejected_B.detach(), ones_B),
    }
    return LossTerms(terms=terms_B, mask=ones_B, average="sequence", diagnostics=diagnostics)
