"""Responses behind a prompt that they share, as one row: what each token may see, and where each state is.

A packed row is [prompt][response 1][response 2]... A token sees the prompt and its own response up to itself, and has
the position that it would have behind the prompt alone, so a causal model gives each response the states that it
would get in a row of its own, and reads the prompt once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.ops.masks import right_padded


@dataclass(frozen=True)
class Packed:
    """U rows of L tokens. `ids_UL`, `position_UL`; `segment_UL` is 0 in the prompt, 1 + b in response b, -1 in padding;
    `state_BS`, with `row_B`: the column of the state that has seen the prompt and t tokens of response b."""

    ids_UL: Tensor
    position_UL: Tensor
    segment_UL: Tensor
    row_B: Tensor
    state_BS: Tensor

    def visible_U1LL(self, window: int | None = None) -> Tensor:
        """True where query i may see key j; with `window` only keys less than that many positions back. Padding sees
        itself, so that no row of a softmax is empty."""
        segment_q, segment_k = self.segment_UL[:, :, None], self.segment_UL[:, None, :]
        visible = ((segment_k == 0) | (segment_k == segment_q)).tril()
        if window is not None:
            visible &= self.position_UL[:, :, None] - self.position_UL[:, None, :] < window
        return visible[:, None]


def pack(prompt_ids_UP: Tensor, prompt_mask_UP: Tensor, ids_BT: Tensor, mask_BT: Tensor, row_B: Tensor) -> Packed:
    """Pack B responses behind U prompts; `row_B` (B,) says behind which. Masks are 1 where a token is real."""
    prompt_ids_UP, prompt_mask_UP = right_padded(prompt_ids_UP, prompt_mask_UP)
    prompt_length_U = prompt_mask_UP.sum(1)
    length_B, prompt_length_B = mask_BT.sum(1), prompt_length_U[row_B]
    same_BB = (row_B[:, None] == row_B[None, :]).long().tril(-1)
    start_B = prompt_length_B + same_BB @ length_B
    end_B = start_B + length_B
    width = int(max(prompt_length_U.max(), end_B.max()))
    ids_UL = ids_BT.new_zeros(len(prompt_ids_UP), width)
    position_UL, segment_UL = torch.zeros_like(ids_UL), torch.full_like(ids_UL, -1)
    P = prompt_ids_UP.shape[1]
    ids_UL[:, :P], segment_UL[:, :P] = prompt_ids_UP, prompt_mask_UP - 1
    position_UL[:, :P] = torch.arange(P, device=ids_UL.device)
    b_N, t_N = mask_BT.bool().nonzero(as_tuple=True)
    at = (row_B[b_N], start_B[b_N] + t_N)
    ids_UL[at], segment_UL[at], position_UL[at] = ids_BT[b_N, t_N], b_N + 1, prompt_length_B[b_N] + t_N
    t_S = torch.arange(ids_BT.shape[1] + 1, device=ids_UL.device)
    column_BS = start_B[:, None] + torch.minimum(t_S, length_B[:, None]) - 1
    first_BS = (t_S == 0) | (length_B[:, None] == 0)
    return Packed(
        ids_UL, position_UL, segment_UL, row_B, torch.where(first_BS, prompt_length_B[:, None] - 1, column_BS)
    )
