"""Clipped objectives of proximal policy optimisation  (Schulman et al., 2017, arXiv:1707.06347)

    S   = min(rho A, clip(rho, 1 - eps, 1 + eps) A),      rho = pi / pi_old                              (1)
    L_V = 1/2 max((V - G)^2, (clip(V, V_old - eps_v, V_old + eps_v) - G)^2)                              (2)

    w   = min(pi_old / q, c)         of samples drawn by q, which is nearly pi_old                      (3)

A, G and V_old are constants: no gradient passes into them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(ratio: Tensor, adv: Tensor, *, cliprange: float) -> Tensor:
    """S of eq. 1, elementwise, *to be maximised*; a loss is minus this.

    `ratio` > 0 and `adv` have one shape; `cliprange` is eps in (0, 1). Where the ratio has left the interval in the
    direction that the advantage asks for, the gradient is 0.
    """
    adv = adv.detach()
    return torch.minimum(ratio * adv, ratio.clamp(1 - cliprange, 1 + cliprange) * adv)


def clipped_value_loss(value: Tensor, value_old: Tensor, ret: Tensor, *, cliprange_value: float) -> Tensor:
    """L_V of eq. 2, elementwise, >= 0, to be minimised.

    `value` (live), `value_old` (at rollout) and `ret` have one shape and the unit of reward; `cliprange_value` is
    eps_v > 0 in that unit.
    """
    value_old, ret = value_old.detach(), ret.detach()
    clipped = value.clamp(value_old - cliprange_value, value_old + cliprange_value)
    return 0.5 * torch.maximum((value - ret).square(), (clipped - ret).square())


def truncated_ratio(logp_old: Tensor, logp_drawn: Tensor, *, cap: float) -> Tensor:
    """w of eq. 3, elementwise, in (0, c], a constant.

    `logp_old` and `logp_drawn` (nats) have one shape: log-probabilities of the same tokens or texts under the policy
    and under the distribution that they were drawn from; `cap` is c >= 1, which bounds the variance and biases a little
    (Ionides 2008, Truncated importance sampling).
    """
    return (logp_old - logp_drawn).detach().exp().clamp(max=cap)
