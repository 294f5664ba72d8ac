"""A contrastive loss that makes the cosine between a state and a goal say how likely the goal is (Nath et al. 2024,
arXiv:2407.13887; sheet goal-conditioned-reward 2.1).

    c_ij = cos(source_i, goal_j)                                                                         (1)
    P+   = mean_ij s(c+_ij / tau),      P- = mean_ij s(c-_ij / tau),      s(z) = 1 / (1 + e^-z)          (2)
    l    = -ln P+ - ln(1 - P-)                                                                           (3)

Positive pairs are an earlier and a later state of the better response; negative ones a state of the better and one of
the worse response. `matched` keeps i = j alone, `mean_of_log` takes the mean of the logarithms in eq. 3 instead.
States may have any scale: the cosine does not see it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize


def cosines(source_BKD: Tensor, goal_BND: Tensor) -> Tensor:
    """Eq. 1 of every source with every goal of its row, (B, K, N) in [-1, 1], float32 or float64."""
    wide = torch.promote_types(source_BKD.dtype, torch.float32)
    return normalize(source_BKD.to(wide), dim=-1) @ normalize(goal_BND.to(wide), dim=-1).mT


def contrastive_loss(
    positive_BKN: Tensor, negative_BKN: Tensor, *, temperature: float = 1.0, mean_of_log: bool = False
) -> Tensor:
    """(B,) terms of eq. 3; with temperature 1 between 0.627 and 1.627, and 1.627 where all states are parallel.

    positive_BKN, negative_BKN   (B, K, N) cosines in [-1, 1]; the two may have other K and N
    temperature                  tau > 0; smaller ones let single pairs count more
    """
    # ln(1 - s(z)) = ln s(-z), and the mean of 1 - s(z) is that of s(-z)
    log_near = logsigmoid(positive_BKN / temperature).flatten(1)
    log_far = logsigmoid(-negative_BKN / temperature).flatten(1)
    if mean_of_log:
        return -log_near.mean(1) - log_far.mean(1)
    return -(log_near.exp().mean(1).log()) - log_far.exp().mean(1).log()


def matched(cosine_BKK: Tensor) -> Tensor:
    """The cosines of sources with the goals of their own slot, (B, K, 1)."""
    return cosine_BKK.diagonal(dim1=1, dim2=2)[..., None]
