"""Reward models from references against failure modes (Solway 2024, arXiv:2408.16753; sheet 2.3).

    bce        L = mean_b { sp(-R(x, y+)) + sp(R(x, y-)) },        sp(z) = ln(1 + e^z)                   (1)
    pairwise   L = mean_b   sp(-[R(x, y+) - R(x, y-) - m])                                               (2)
    contrast   L + beta mean_b l_b,    l: eq. 3 of `ops.contrast` on states of the pair                  (3)

Notation    y+: reference    y-: a made or mined failure    R: logit of the head at the last token
            m: the pair's column `margin` (Touvron et al. 2023, arXiv:2307.09288, eq. 2), 0 where it has none
            l_b: of K states of each kind (Nath et al. 2024, arXiv:2407.13887; sheet goal-conditioned-reward 2.1, 2.2)
Deviations  The authors take the mean of eq. 2 of `ops.contrast` over all pairs of a batch before the logarithm; here
            it is over the states of one pair, so that the loss does not hang on how a batch is cut
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import LossTerms, PairBatch
from homestretch.config.contrast import ContrastConfig
from homestretch.ops.contrast import contrastive_loss, cosines, matched
from homestretch.ops.preference import bce_reward_loss, pairwise_reward_loss

Kind = Literal["classifier", "pairwise"]


@dataclass(frozen=True, kw_only=True)
class ContrastBatch(PairBatch):
    """Pairs with the places (B, K, 4) of the states that are compared (see `ops.state_sampling`)."""

    place_BK4: Tensor


@dataclass
class RewardModelling(Offline):
    """Fits the reward head (and adapter) of `models.policy`."""

    kind: Kind
    contrast: ContrastConfig | None = None
    needs = frozenset({"pairs", "negatives"})

    def loss(self, models: Models, batch: PairBatch) -> LossTerms:
        """Eq. 1 or 2, and 3, one term a pair."""
        # In one pass, because both sides, and other pairs of the prompt, share its states.
        want = {"reward"} if self.contrast is None else {"reward", "hidden"}
        scored = models.policy.score(batch.chosen.joined(batch.rejected), want=want)
        assert scored.reward_B is not None
        chosen_B, rejected_B = scored.reward_B.chunk(2)
        ones_B = torch.ones_like(chosen_B)
        diagnostics = {
            "accuracy": ((chosen_B > rejected_B).float().detach(), ones_B),
            "margin": ((chosen_B - rejected_B).detach(), ones_B),
        }
        terms_B = reward_terms(self.kind, chosen_B, rejected_B, batch.margin_B)
        if self.contrast is not None:
            assert isinstance(batch, ContrastBatch) and scored.hidden_BSD is not None
            better_BSD, worse_BSD = scored.hidden_BSD.chunk(2)
            contrast_B = contrast_terms(better_BSD, worse_BSD, batch.place_BK4, self.contrast)
            diagnostics |= {"loss/reward": (terms_B.detach(), ones_B), "loss/contrast": (contrast_B.detach(), ones_B)}
            terms_B = terms_B + self.contrast.weight * contrast_B
        return LossTerms(terms=terms_B, mask=ones_B, average="sequence", diagnostics=diagnostics)


def reward_terms(kind: Kind, chosen_B: Tensor, rejected_B: Tensor, margin_B: Tensor | None) -> Tensor:
    """Eq. 1 or 2 (B,) of both sides' logits (B,); the margin (B,), in logits, is eq. 2's."""
    if kind == "classifier":
        return bce_reward_loss(chosen_B, rejected_B)
    return pairwise_reward_loss(chosen_B, rejected_B, margin_B)


def contrast_terms(chosen_BSD: Tensor, rejected_BSD: Tensor, place_BK4: Tensor, config: ContrastConfig) -> Tensor:
    """l of eq. 3 (B,), before its weight.

    chosen_BSD, rejected_BSD   states of both sides, S = T + 1; state t has seen t response tokens
    place_BK4                  which of them are compared
    """

    def states(side_BSD: Tensor, kind: int) -> Tensor:
        index_BK1 = place_BK4[..., kind, None].to(side_BSD.device)
        return side_BSD.gather(1, index_BK1.expand(-1, -1, side_BSD.shape[-1]))

    sources = states(chosen_BSD, 0), states(chosen_BSD, 2)
    goals = states(chosen_BSD, 1), states(rejected_BSD, 3)
    if config.goal_stop_gradient:
        goals = goals[0].detach(), goals[1].detach()
    positive_BKN, negative_BKN = cosines(sources[0], goals[0]), cosines(sources[1], goals[1])
    if config.matched:
        positive_BKN, negative_BKN = matched(positive_BKN), matched(negative_BKN)
    if config.in_batch_negatives:
        negative_BKN = cosines(sources[1], goals[1].flatten(0, 1).expand(len(goals[1]), -1, -1))
    return contrastive_loss(positive_BKN, negative_BKN, temperature=config.temperature, mean_of_log=config.mean_of_log)
