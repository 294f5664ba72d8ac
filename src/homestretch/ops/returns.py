"""Generalised advantage estimation on responses of unequal length  (Schulman et al., 2016, arXiv:1506.02438)

delta_t = r_t + gamma V(s_{t+1}) - V(s_t),      V := 0 after the last step                           (1)
A_t     = sum_{k>=0} (gamma lam)^k delta_{t+k}  = delta_t + gamma lam A_{t+1}                        (2)
G_t     = A_t + V(s_t)                                                                               (3)

Potential-based shaping adds to the reward of step t (Ng, Harada and Russell, 1999)

F_t     = gamma Phi(s_{t+1}) - Phi(s_t),     Phi := 0 after the last step                            (4)

Discounted, these add up to -Phi(s_0) whatever is done, so that the best policy stays the best.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def gae(reward_BT: Tensor, value_BT: Tensor, mask_BT: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages A and returns G, each (B, T), constant (no gradient), and 0 where the mask is 0.

    reward_BT   reward of each token; value_BT: V of the state before each token, in units of reward
    mask_BT     1 for the first tokens of each row, 0 behind; values and rewards behind are ignored
    gamma, lam  discount and bias-variance trade, both in [0, 1]

    lam = 1 gives the discounted Monte-Carlo return minus the value, lam = 0 the one-step error of eq. 1.
    """
    valid_BT = mask_BT.bool()
    reward_BT, value_BT = reward_BT.masked_fill(~valid_BT, 0), value_BT.masked_fill(~valid_BT, 0)
    next_value_BT = torch.cat([value_BT[:, 1:], torch.zeros_like(value_BT[:, :1])], 1)
    delta_BT = reward_BT + gamma * next_value_BT - value_BT  # eq. 1
    adv_BT = torch.zeros_like(delta_BT)
    following_B = delta_BT.new_zeros(len(delta_BT))
    for t in reversed(range(delta_BT.shape[1])):
        following_B = delta_BT[:, t] + gamma * lam * following_B  # eq. 2
        adv_BT[:, t] = following_B
    return adv_BT, adv_BT + value_BT  # eq. 3


def token_rewards(reward_B: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, T) rewards: each row's `reward_B` on its last valid token, 0 elsewhere. An empty row stays 0.

    `mask_BT` is 1 for the first tokens of each row and 0 behind.
    """
    last_B = mask_BT.bool().sum(1) - 1
    column_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return torch.where(column_T == last_B[:, None], reward_B[:, None], torch.zeros_like(reward_B[:, None]))


def shaping_rewards(potential_BS: Tensor, mask_BT: Tensor, *, gamma: float) -> Tensor:
    """F of eq. 4 for each token (B, T), 0 where the mask is 0.

    potential_BS   (B, T + 1) Phi of the state before each token and behind the last, in units of reward
    mask_BT        1 for the first tokens of each row and 0 behind
    """
    valid_BT = mask_BT.bool()
    following_BT = torch.cat([valid_BT[:, 1:], torch.zeros_like(valid_BT[:, :1])], 1)
    next_BT = potential_BS[:, 1:].masked_fill(~following_BT, 0)
    return (gamma * next_BT - potential_BS[:, :-1]).masked_fill(~valid_BT, 0)  # eq. 4
