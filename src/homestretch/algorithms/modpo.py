"""Multi-objective direct preference optimisation: pairs for one objective, rewards for the others (Zhou et al.,
Findings of ACL 2024, arXiv:2310.03708).

    g(y) = (1/w_k) { beta [ln p(y | x) - ln p_ref(y | x)] - sum_m w_m r_m(x, y) }                          (1)
    L    = -(1/B) sum_b ln s(g(y+_b) - g(y-_b)),      s(z) = 1 / (1 + e^-z)                                 (2)

At the optimum p is proportional to p_ref exp((w_k r_k + sum_m w_m r_m) / beta), where r_k is the reward by which
the pairs are ordered: sweeping the weights gives a front of models, each without sampling. With w_k = 1 and nothing
else it is DPO.

Notation    y+, y-: better and worse response by objective k; log-probabilities are sums over tokens
            p_ref: the model before this stage    r_m: rewards of the M other objectives    w: weights, sum 1
Constants   p_ref, r_m: computed once; adding a number to r_m that depends on x alone changes nothing
Deviations  none in the loss; rewards are computed once before training, the authors' code does it in every step
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from homestretch.algorithms.base import Models, Offline
from homestretch.algorithms.dpo import dpo_margin, pair_logps, pair_terms
from homestretch.batch import LossTerms, PairBatch
from homestretch.config.modpo import MODPOConfig


def modpo_logits(
    logp_chosen_B: Tensor,
    logp_rejected_B: Tensor,
    logp_ref_chosen_B: Tensor,
    logp_ref_rejected_B: Tensor,
    reward_chosen_BM: Tensor,
    reward_rejected_BM: Tensor,
    *,
    beta: float,
    weight: float,
    reward_weights: Sequence[float],
) -> Tensor:
    """g(y+) - g(y-) of eq. 1 (B,), the log-odds that the policy gives to the order of each pair by objective k.

    logp_chosen_B, logp_rejected_B           (B,) log-probabilities of whole responses under the policy, nats, <= 0
    logp_ref_chosen_B, logp_ref_rejected_B   (B,) those under the reference; constants
    reward_chosen_BM, reward_rejected_BM     (B, M) what the other objectives give to either response; constants
    beta                                     > 0, strength of the divergence from the reference
    weight                                   w_k in (0, 1], of the objective by which the pairs are ordered
    reward_weights                           M weights of the others
    """
    margin_B = dpo_margin(logp_chosen_B, logp_rejected_B, logp_ref_chosen_B, logp_ref_rejected_B)
    difference_BM = (reward_chosen_BM - reward_rejected_BM).detach()
    others_B = (difference_BM * difference_BM.new_tensor(reward_weights)).sum(-1)
    return (beta * margin_B - others_B) / weight  # eq. 1


def modpo_loss(
    logp_chosen_B: Tensor,
    logp_rejected_B: Tensor,
    logp_ref_chosen_B: Tensor,
    logp_ref_rejected_B: Tensor,
    reward_chosen_BM: Tensor,
    reward_rejected_BM: Tensor,
    *,
    beta: float,
    weight: float,
    reward_weights: Sequence[float],
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid",
) -> Tensor:
    """Terms of eq. 2 for each pair (B,), > 0, or max(0, 1 - (g(y+) - g(y-))) with `hinge`.

    The other arguments are those of `modpo_logits`.
    """
    logits_B = modpo_logits(
        logp_chosen_B,
        logp_rejected_B,
        logp_ref_chosen_B,
        logp_ref_rejected_B,
        reward_chosen_BM,
        reward_rejected_BM,
        beta=beta,
        weight=weight,
        reward_weights=reward_weights,
    )
    if loss_type == "hinge":
        return (1 - logits_B).clamp(min=0)
    return -logsigmoid(logits_B)


class MODPO(Offline):
    """Makes better responses more probable than worse ones, as far as the other objectives do not already say so."""

    needs = frozenset({"pairs", "negatives", "reference", "rewards"})

    def __init__(self, config: MODPOConfig) -> None:
        self.config = config

    def loss(self, models: Models, batch: PairBatch) -> LossTerms:
        """Eq. 2 on one batch, one term a pair."""
        sides = pair_logps(models, batch)
        assert batch.reward_chosen_BM is not None and batch.reward_rejected_BM is not None
        settings = self.config
        terms_B = modpo_loss(
            *sides,
            batch.reward_chosen_BM,
            batch.reward_rejected_BM,
            beta=settings.beta,
            weight=settings.weight,
            reward_weights=[term.weight for term in settings.rewards.values()],
            loss_type=settings.loss_type,
        )
        return pair_terms(terms_B, *sides)
