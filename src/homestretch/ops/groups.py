"""Rewards of samples compared with those of the same prompt.

    others    R_b - mean of the other rows of its group                                                  (1)
    scaled    (R_b - mean of its group) / (standard deviation of its group + eps)                        (2)

Rows with the same index are a group. Everything is constant.
"""

from __future__ import annotations

import torch
from torch import Tensor


def others_mean(reward_B: Tensor, index_B: Tensor) -> Tensor:
    """Mean reward (B,) of the other rows with the same index; 0 where there is none."""
    same_BB = _same(index_B).to(reward_B.dtype)
    same_BB.fill_diagonal_(0)
    return (same_BB @ reward_B) / same_BB.sum(1).clamp(min=1)


def group_scaled(reward_B: Tensor, index_B: Tensor, *, scale: bool, eps: float = 1e-4) -> Tensor:
    """Eq. 2 for each row (B,), with the population standard deviation; without `scale` only the mean is subtracted.

    0 where all rewards of a group are the same.
    """
    same_BB = _same(index_B).to(reward_B.dtype)
    count_B = same_BB.sum(1)
    centred_B = reward_B - (same_BB @ reward_B) / count_B
    if not scale:
        return centred_B
    # about the group's own mean, since a difference of squares would lose small spreads
    variance_B = (same_BB @ centred_B.square()) / count_B
    return centred_B / (variance_B.sqrt() + eps)


def _same(index_B: Tensor) -> Tensor:
    return torch.eq(index_B[:, None], index_B[None, :])
