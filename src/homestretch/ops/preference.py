"""Losses that teach a reward to put one response above others, a term for each pair.

    bce        l = sp(-R+) + 1/C sum_c sp(R-_c),      sp(z) = ln(1 + e^z)                                (1)
    pairwise   l = 1/C sum_c sp(-(R+ - R-_c - margin))                                                   (2)

R+ and R- are logits of the better and of the worse responses. Eq. 1 fixes the scale's zero: R = 0 is undecided.
Eq. 2 does not change when a function of the prompt is added to both.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def bce_reward_loss(reward_chosen_B: Tensor, reward_rejected_BC: Tensor) -> Tensor:
    """(B,) terms of eq. 1, > 0; 2 ln 2 for a reward that is 0 everywhere.

    reward_chosen_B      (B,) logits of the better responses
    reward_rejected_BC   (B,) or (B, C) logits of one or C worse responses
    """
    return softplus(-reward_chosen_B) + softplus(_alternatives(reward_rejected_BC)).mean(-1)


def pairwise_reward_loss(reward_chosen_B: Tensor, reward_rejected_BC: Tensor, margin_B: Tensor | None = None) -> Tensor:
    """(B,) terms of eq. 2, > 0; ln 2 for a reward that cannot tell the two apart and no margin.

    reward_chosen_B      (B,) logits of the better responses
    reward_rejected_BC   (B,) or (B, C) logits of one or C worse responses
    margin_B             (B,) difference that is wanted beyond 0, in logits; None is 0
    """
    difference_BC = reward_chosen_B[:, None] - _alternatives(reward_rejected_BC)
    if margin_B is not None:
        difference_BC = difference_BC - margin_B[:, None]
    return softplus(-difference_BC).mean(-1)


def _alternatives(reward: Tensor) -> Tensor:
    return reward if reward.dim() == 2 else reward[:, None]
