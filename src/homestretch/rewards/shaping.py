"""From a reward model's score to the reward that is optimised  (sheet of Solway, 2024, arXiv:2408.16753, section 2.4)

    r = w clip(score, +-c_max) - LP(y) - c_eos 1[no end marker]                                          (1)

    ratio       LP = c max(0, len(y) / len(ref) - 1)                                                     (2)
    deviation   LP = c |len(y) / len(ref) - 1|                                                           (3)
    linear      LP = c len(y)                                                                            (4)
    budget      LP = c max(0, len(y) - B)                                                                (5)
    none        LP = 0                                                                                   (6)

Lengths count generated tokens, end marker included. The paper has a length penalty; its form is not known, and these
are ours. All but `deviation` only ever ask for less. Everything is constant: no gradient passes into a reward.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LengthForm = Literal["ratio", "deviation", "linear", "budget", "none"]


def length_penalty(
    length_B: Tensor, ref_length_B: Tensor | None, *, form: LengthForm, coef: float, budget: float | None = None
) -> Tensor:
    """(B,) penalties LP >= 0 in units of reward, float32.

    length_B       (B,) tokens of the response
    ref_length_B   (B,) tokens of the reference, at least 1; read by `ratio` and `deviation`, else it may be None
    coef           c >= 0: per unit of ratio for `ratio` and `deviation`, per token for `linear` and `budget`
    budget         B >= 0, tokens that cost nothing; read by `budget` only

    Raises ValueError where the form needs a reference length or a budget that is not given.
    """
    length_B = length_B.detach().float()
    if form in ("ratio", "deviation"):
        if ref_length_B is None:
            raise ValueError(
                f"The length penalty `{form}` needs reference lengths; give references or choose `budget`."
            )
        excess_B = length_B / ref_length_B.clamp(min=1) - 1
        return coef * (excess_B.clamp(min=0) if form == "ratio" else excess_B.abs())  # eq. 2 and 3
    if form == "linear":
        return coef * length_B  # eq. 4
    if form == "budget":
        if budget is None:
            raise ValueError("The length penalty `budget` needs a number of tokens; set it or choose `ratio`.")
        return coef * (length_B - budget).clamp(min=0)  # eq. 5
    return torch.zeros_like(length_B)  # eq. 6


def shaped_reward(
    score_B: Tensor,
    penalty_B: Tensor,
    terminated_B: Tensor,
    *,
    reward_clip_range: float | None,
    missing_eos_penalty: float,
    weight: float = 1.0,
) -> Tensor:
    """(B,) rewards of eq. 1, constant.

    score_B               (B,) reward model's logits
    penalty_B             (B,) LP, >= 0, subtracted
    terminated_B          (B,) True where the response ends in an end marker
    reward_clip_range     c_max > 0; scores are cut to [-c_max, c_max], the penalties are not; None does not cut
    missing_eos_penalty   c_eos >= 0, subtracted where there is no end marker
    weight                w, of the score beside other rewards
    """
    clipped_B = score_B.detach()
    if reward_clip_range is not None:
        clipped_B = clipped_B.clamp(-reward_clip_range, reward_clip_range)
    return weight * clipped_B - penalty_B.detach() - missing_eos_penalty * (~terminated_B.bool()).to(clipped_B.dtype)
