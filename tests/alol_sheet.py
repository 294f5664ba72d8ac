"""The three cases of section 5 of the A-LoL sheet: R 0.8, V 0.5, clip 0.9, beta 0.2, floor 0.1."""

from __future__ import annotations

import torch
from torch import Tensor

REWARD, VALUE, CLIPRANGE, BETA, FLOOR = 0.8, 0.5, 0.9, 0.2, 0.1
LOGP = [[-0.5, -1.2, -0.3], [-0.1, -0.2, -0.1], [-3.0, -4.0]]
LOGP_REF = [[-0.7, -1.0, -0.6], [-0.9, -0.5, -0.3], [-1.0, -0.5]]
LOSS = {
    "nll": [2.0, 0.4, 7.0],
    "wbc": [1.6, 0.32, 5.6],
    "gold": [0.709555, 0.275771, 0.56],
    "ratio": [1.349859, 3.669297, 0.004087],
    "clipped": [1.349859, 1.9, 0.1],
    "r_lol": [2.159774, 0.608, 0.56],
    "a_lol": [0.809915, 0.228, 0.21],
    "a_lol_ref_free": [0.6, 0.12, 2.1],
    "a_lol_seq": [0.599441, 0.174634, 0.241802],
    "a_lol_kl": [0.66, 0.38, 1.0],
}
GRADIENT_OF_CASE_1 = {
    "a_lol": [-0.404958, -0.404958, -0.404958],
    "a_lol_seq": [-0.366421, -0.245619, -0.404958],
    "a_lol_ref_free": [-0.3, -0.3, -0.3],
    "a_lol_kl": [-0.1, -0.1, -0.1],
}


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of policy and reference, and the mask, each (3, 3); NaN stands under the mask's zero."""
    mask_BT = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])
    padded = [[[*row, torch.nan][:3] for row in rows] for rows in (LOGP, LOGP_REF)]
    logp_BT, logp_ref_BT = (torch.tensor(rows, dtype=torch.float64) for rows in padded)
    return logp_BT.requires_grad_(), logp_ref_BT, mask_BT


def constant(value: float) -> Tensor:
    """(3,) of one number."""
    return torch.full((3,), value, dtype=torch.float64)
