"""Reward models from references against failure modes (Solway 2024, arXiv:2408.16753; sheet 2.3).

    bce        L = mean_b { sp(-R(x, y+)) + sp(R(x, y-)) },        sp(z) = ln(1 + e^z)                   (1)
    pairwise   L = mean_b   sp(-[R(x, y+) - R(x, y-)])                                                   (2)

Notation    y+: reference    y-: a made or mined failure    R: logit of the head at the last token
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import LossTerms, PairBatch
from homestretch.ops.preference import bce_reward_loss, pairwise_reward_loss


@dataclass
class RewardModelling(Offline):
    """Fits the reward head (and adapter) of `models.policy`."""

    kind: Literal["classifier", "pairwise"]
    needs = frozenset({"pairs", "negatives"})

    def loss(self, models: Models, batch: PairBatch) -> LossTerms:
        """Eq. 1 or 2, one term a pair."""
        # In one pass, because both sides, and other pairs of the prompt, share its states.
        reward_B = models.policy.score(batch.chosen.joined(batch.rejected), want={"reward"}).reward_B
        assert reward_B is not None
        chosen_B, rejected_B = reward_B.chunk(2)
        loss = bce_reward_loss if self.kind == "classifier" else pairwise_reward_loss
        ones_B = torch.ones_like(chosen_B)
        diagnostics = {
            "accuracy": ((chosen_B > rejected_B).float().detach(), ones_B),
            "margin": ((chosen_B - rejected_B).detach(), ones_B),
        }
        return LossTerms(terms=loss(chosen_B, rejected_B), mask=ones_B, average="sequence", diagnostics=diagnostics)
