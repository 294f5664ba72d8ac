"""States behind tokens that a response might have had instead of its own, all in one pass behind its cache.

The candidates of a step see the prompt, the response before that step, and themselves, and have the position of the
token whose place they take: the states are those of a row for each, and nothing is read twice.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from homestretch.policies.packed import attention_masks
from homestretch.policies.rows import decoder_of


def branch_hidden(lm: PreTrainedModel, cache: DynamicCache, seen_BL: Tensor, ids_BTK: Tensor) -> Tensor:
    """Hidden states (B, T, K, D) behind K candidates for each of the last T of L cached tokens.

    `seen_BL` is 1 where a cached token is real. The cache is left as it was. For models that `packed.packs` alone.
    """
    B, T, K = ids_BTK.shape
    L, N = seen_BL.shape[1], T * K
    column_N = torch.arange(L - T, L, device=seen_BL.device).repeat_interleave(K)
    position_BL = (seen_BL.cumsum(1) - 1).clamp(min=0)
    position_BN = position_BL[:, column_N]
    before_NL = torch.arange(L, device=seen_BL.device) < column_N[:, None]
    before_BNL = seen_BL.bool()[:, None] & before_NL
    itself_BNN = torch.eye(N, dtype=torch.bool, device=seen_BL.device).expand(B, N, N)

    def visible(window: int | None) -> Tensor:
        near_BNL = before_BNL
        if window is not None:
            near_BNL = before_BNL & (position_BN[:, :, None] - position_BL[:, None] < window)
        return torch.cat([near_BNL, itself_BNN], dim=2)[:, None]

    out = decoder_of(lm)(
        input_ids=ids_BTK.flatten(1),
        attention_mask=attention_masks(lm, visible),
        position_ids=position_BN,
        past_key_values=cache,
        use_cache=True,
    )
    cache.crop(-N)
    return out.last_hidden_state.view(B, T, K, -1)
