"""Where tokens stand: masks from lengths, prompts and responses joined, positions of the states that predict."""

from __future__ import annotations

import torch
from torch import Tensor


def length_mask(length_B: Tensor, width: int) -> Tensor:
    """(B, width) integer mask: 1 in the first `length_B` columns of each row, 0 behind. Lengths in [0, width]."""
    return (torch.arange(width, device=length_B.device) < length_B[:, None]).long()


def compact(
    prompt_ids_BP: Tensor, prompt_mask_BP: Tensor, ids_BT: Tensor, mask_BT: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row's real prompt tokens and, right behind them, its real response tokens.

    Masks are 1 (or True) where a token is real; padding may be on either side. Returns ids (B, L) padded on the right
    with 0, their integer mask (B, L), and the number of real prompt tokens (B,). L is the longest joined row.
    The result does not depend on which side the padding was, nor on the ids under it.
    """
    real_BL = torch.cat([prompt_mask_BP.bool(), mask_BT.bool()], 1)
    ids_BL = torch.cat([prompt_ids_BP, ids_BT], 1)
    length_B = real_BL.sum(1)
    width = int(length_B.max()) if len(length_B) else 0
    order_BL = real_BL.long().argsort(dim=1, descending=True, stable=True)[:, :width]
    mask_BL = length_mask(length_B, width)
    return ids_BL.gather(1, order_BL) * mask_BL, mask_BL, prompt_mask_BP.bool().sum(1)


def response_states(prompt_length_B: Tensor, width_T: int, *, last_B: Tensor) -> Tensor:
    """(B, T + 1) column of the state that has seen the prompt and t response tokens: prompt_length - 1 + t.

    State t predicts response token t; state T has seen the whole response. `last_B` is the last valid column of each
    row; states behind it repeat it, so that a gather stays inside the row. Every row needs a prompt token: the state
    before the first response token is that of the last prompt token, and column -1 makes the gather fail.
    """
    column_S = torch.arange(width_T + 1, device=prompt_length_B.device)
    return torch.minimum(prompt_length_B[:, None] - 1 + column_S, last_B[:, None])


def distinct_rows(x_BN: Tensor) -> tuple[Tensor, Tensor]:
    """The first of each set of equal rows (U,), in the order of `x_BN`, and for each row the position of its own (B,):
    `x_BN[first][inverse]` is `x_BN`."""
    _, inverse_B = torch.unique(x_BN, dim=0, return_inverse=True)
    row_B = torch.arange(len(x_BN), device=x_BN.device)
    first_U = row_B.new_full((int(inverse_B.max()) + 1,), len(x_BN)).scatter_reduce(0, inverse_B, row_B, "amin")
    first_U, order_U = first_U.sort()
    return first_U, order_U.argsort()[inverse_B]


def right_padded(ids_BP: Tensor, mask_BP: Tensor) -> tuple[Tensor, Tensor]:
    """The real tokens of each row moved to its start, 0 behind, and their integer mask; as wide as the longest row."""
    nothing_B0 = ids_BP[:, :0]
    ids_BL, mask_BL, _ = compact(ids_BP, mask_BP, nothing_B0, nothing_B0)
    return ids_BL, mask_BL


def left_padded(ids_BP: Tensor, mask_BP: Tensor) -> tuple[Tensor, Tensor]:
    """The real tokens of each row moved to its end, 0 in front, and their integer mask."""
    order_BP = mask_BP.long().argsort(dim=1, stable=True)
    mask_BP = mask_BP.long().gather(1, order_BP)
    return ids_BP.gather(1, order_BP) * mask_BP, mask_BP
