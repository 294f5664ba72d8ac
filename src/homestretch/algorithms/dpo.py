"""Direct preference optimisation: pairs of responses, without a reward model (Rafailov et al., NeurIPS 2023,
arXiv:2305.18290; label smoothing: Mitchell 2023, "A note on DPO with noisy preferences").

    h = beta [ (ln p(y+ | x) - ln p(y- | x)) - (ln p_ref(y+ | x) - ln p_ref(y- | x)) ]                   (1)
    L = -(1/B) sum_b { (1 - eps) ln s(h_b) + eps ln s(-h_b) },      s(z) = 1 / (1 + e^-z)                (2)

Notation    y+, y-: better and worse response; their log-probabilities are sums over tokens, end marker included
            p_ref: the model before this stage    eps: share of pairs whose order is taken to be wrong
Constants   p_ref: its log-probabilities are computed once
Deviations  none
"""

from __future__ import annotations

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
    h_B = beta * margin_B  # eq. 1
    return -((1 - label_smoothing) * logsigmoid(h_B) + label_smoothing * logsigmoid(h_B.neg()))


class DPO(Offline):
    """Makes better responses more probable than worse ones, relative to the reference."""

    needs = frozenset({"pairs", "negatives", "reference"})

    def __init__(self, config: DPOConfig) -> None:
        self.config = config

    def loss(self, models: Models, batch: PairBatch) -> LossTerms:
        """Eq. 2 on one batch, one term a pair."""
        sides = pair_logps(models, batch)
        terms_B = dpo_loss(*sides, beta=self.config.beta, label_smoothing=self.config.label_smoothing)
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
