"""A goal model steers sampling: of the likely next tokens those win that lead nearer to the goals (Nath et al. 2024,
arXiv:2407.13887; sheet goal-conditioned-reward 2.6).

    z'_a = ln p(a | s) + sum_g w_g Q_g(s a)   for the k most probable tokens a,   -inf for all others     (1)

Q_g is the cosine between the goal model's state behind s a and goal g. It reads a row's last token and all candidates
of the next one in one pass behind its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.config.decoding import CANDIDATES
from homestretch.generation.beside import Beside, started
from homestretch.ops.contrast import cosines
from homestretch.policies.policy import Policy, StartDecoding


@dataclass(frozen=True)
class Steering:
    """Goals (G, D) with their weights (G,), in nats for a cosine of 1, and k, how many tokens are weighed at a step.

    `policy` is a causal reward model with weights of its own that takes any mask (`policies.packed.packs`).
    """

    policy: Policy
    goals_GD: Tensor
    weight_G: Tensor
    k: int = CANDIDATES

    def begin(self, start: StartDecoding, prompts: Sequence[list[int]], copies: int) -> Steered:
        """Rows of these prompts, copies side by side, before their first token."""
        state, waiting_BN = started(start, prompts, copies, self.policy.device)
        return Steered(state, waiting_BN, waiting_BN, self)


@dataclass
class Steered(Beside):
    """Rows that are steered."""

    steering: Steering

    def adjusted(self, logits_BV: Tensor) -> Tensor:
        """Eq. 1 (B, V)."""
        logp_BK, token_BK = logits_BV.log_softmax(-1).topk(min(self.steering.k, logits_BV.shape[1]), dim=-1)
        with self.steering.policy.autocast():
            hidden_BKD = self.state.ahead(*self.taken(), token_BK)
        goals_BGD = self.steering.goals_GD.to(hidden_BKD.device).expand(len(hidden_BKD), -1, -1)
        bonus_BK = cosines(hidden_BKD, goals_BGD) @ self.steering.weight_G.to(hidden_BKD.device)
        return torch.full_like(logits_BV, -torch.inf).scatter(1, token_BK, logp_BK + bonus_BK)
