"""What the reference itself would earn: V of a prompt, fitted once and then subtracted from rewards (Baheti et al.,
ICLR 2024, arXiv:2305.14718, A-LoL's second step).

    L = (1/B) sum_b (V(x_b) - R(x_b, y'_b))^2,      y' ~ p_ref( . | x)                                   (1)
    A(x, y) = R(x, y) - V(x)                                                                             (2)

Notation    V: `prompt_value_B`, a pooled head on the reference's states of the prompt (`policies.heads`), in (0, R_max)
            R: reward_B of a response that the reference sampled, or that is stored
Constants   the reference: no gradient passes into its states; R; A
Deviations  1. The authors attend to padding and leave dropout on when they use V; ours does neither.
            2. Their checkpoint is that of the lowest training error, ours of the lowest error on held-out prompts.
"""

from __future__ import annotations

from torch import Tensor, ones_like

from homestretch.algorithms.base import Models, Offline
from homestretch.batch import LossTerms, SequenceBatch


def value_loss(value_B: Tensor, reward_B: Tensor) -> Tensor:
    """Terms (B,) of eq. 1, in squared units of reward, >= 0. `reward_B` (B,) is a constant."""
    return (value_B - reward_B.detach()).square()


def advantage(reward_B: Tensor, value_B: Tensor) -> Tensor:
    """A of eq. 2 (B,), in units of reward, a constant."""
    return (reward_B - value_B).detach()


class ValueFit(Offline):
    """Fits the head `prompt_value` of `models.policy`, which is the reference."""

    needs = frozenset({"pairs", "rewards", "value"})

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        """Eq. 1 on one batch, one term a prompt."""
        value_B = models.policy.score(batch, want={"prompt_value"}, heads_only=True).prompt_value_B
        assert value_B is not None and batch.reward_B is not None
        ones_B = ones_like(value_B)
        diagnostics = {"value": (value_B.detach(), ones_B), "reward": (batch.reward_B, ones_B)}
        return LossTerms(
            terms=value_loss(value_B, batch.reward_B), mask=ones_B, average="sequence", diagnostics=diagnostics
        )
