"""Best-of-n sampling: how far it is from what it samples, and which sample is the best.

    KL(best of n | one sample) <= ln n - (n - 1) / n,    an equality where no two samples earn the same         (1)
    best = argmax_k sum_m w_m r_mk / s_m,    s_m: standard deviation of reward m over all samples               (2)

(Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; that it is a bound: Beirami et al. 2024, arXiv:2401.01879.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def best_of_kl(n: int) -> float:
    """Eq. 1 of n >= 1 samples, nats, >= 0."""
    return math.log(n) - (n - 1) / n


def best_of_n(kl: float) -> int:
    """The n >= 1 whose eq. 1 is nearest to `kl` >= 0 nats; the smaller one of two that are as near."""
    n = 1
    while best_of_kl(n + 1) <= kl:
        n += 1
    return n if kl - best_of_kl(n) <= best_of_kl(n + 1) - kl else n + 1


def best(reward_NKM: Tensor, weights: Sequence[float], *, standardise: bool) -> Tensor:
    """Index (N,), int64, of the best of K samples of each of N prompts by eq. 2; the first of those that tie.

    reward_NKM    (N, K, M) rewards; NaN, where one does not apply, counts as nothing earned
    weights       M weights
    standardise   divide each reward by its standard deviation over all samples, where that is not 0; else s_m = 1
    """
    earned_NKM = reward_NKM.double()
    if standardise:
        earned_NKM = earned_NKM / torch.stack([spread(part_NK) for part_NK in earned_NKM.unbind(-1)])
    return (earned_NKM.nan_to_num() * earned_NKM.new_tensor(weights)).sum(-1).argmax(1)


def spread(reward_N: Tensor) -> Tensor:
    """Standard deviation of the rewards of any shape, a scalar, of those that apply; 1 where it would be 0."""
    there = reward_N[~reward_N.isnan()]
    found = there.std(correction=0) if len(there) else reward_N.new_zeros(())
    return torch.where(found > 0, found, torch.ones_like(found))
