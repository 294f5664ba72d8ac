"""States behind tokens that a response might have had, or might get next, all in one pass behind its cache.

The candidates of a place see the prompt, the response before that place, and themselves, and have the position of the
token whose place they take: the states are those of a row for each, and nothing is read twice. For models that
`packed.packs` alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel

from homestretch.policies.packed import attention_masks
from homestretch.policies.rows import decoder_of


def branch_hidden(lm: PreTrainedModel, cache: DynamicCache, seen_BL: Tensor, ids_BTK: Tensor) -> Tensor:
    """Hidden states (B, T, K, D) behind K candidates for each of the last T of L cached tokens.

    `seen_BL` is 1 where a cached token is real. The cache is left as it was.
    """
    B, T, K = ids_BTK.shape
    L = seen_BL.shape[1]
    column_N = torch.arange(L - T, L, device=seen_BL.device).repeat_interleave(K)
    hidden_BND = _read(lm, cache, seen_BL, ids_BTK.flatten(1), column_N, own=T * K)
    cache.crop(-T * K)
    return hidden_BND.view(B, T, K, -1)


def ahead_hidden(lm: PreTrainedModel, cache: DynamicCache, seen_BL: Tensor, new_BN: Tensor, ids_BK: Tensor) -> Tensor:
    """Hidden states (B, K, D) behind K candidates for the next token, and N new tokens appended to the cache.

    `seen_BL` is 1 where a token is real, the new ones (its last N columns) included.
    """
    N, K, L = new_BN.shape[1], ids_BK.shape[1], seen_BL.shape[1]
    column_N = torch.arange(L - N, L, device=seen_BL.device)
    column_N = torch.cat([column_N, column_N.new_full((K,), L)])
    hidden_BND = _read(lm, cache, seen_BL, torch.cat([new_BN, ids_BK], 1), column_N, own=K)
    cache.crop(-K)
    return hidden_BND[:, N:]


def _read(
    lm: PreTrainedModel, cache: DynamicCache, seen_BL: Tensor, ids_BN: Tensor, column_N: Tensor, *, own: int
) -> Tensor:
    """States of tokens that take these columns. The last `own` of them are seen by nothing but themselves; those before
    are columns of `seen_BL` that the cache does not have yet."""
    device, (B, N), L = seen_BL.device, ids_BN.shape, seen_BL.shape[1]
    before_BC = pad(seen_BL.cumsum(1), (1, 0))  # real tokens before each column
    position_BN, position_BL = before_BC[:, column_N], before_BC[:, :-1]
    before_BNL = seen_BL.bool()[:, None] & (torch.arange(L, device=device) < column_N[:, None])
    # A token sees itself, be it padding: a row without anything to see has no attention.
    itself_NL = torch.zeros(N, L, dtype=torch.bool, device=device)
    new_N = torch.arange(N - own, device=device)
    itself_NL[new_N, column_N[new_N]] = True
    apart_NO = torch.eye(N, dtype=torch.bool, device=device)[:, N - own :]

    def visible(window: int | None) -> Tensor:
        near_BNL = before_BNL
        if window is not None:
            near_BNL = before_BNL & (position_BN[:, :, None] - position_BL[:, None] < window)
        return torch.cat([near_BNL | itself_NL, apart_NO.expand(B, -1, -1)], dim=2)[:, None]

    out = decoder_of(lm)(
        input_ids=ids_BN,
        attention_mask=attention_masks(lm, visible),
        position_ids=position_BN,
        past_key_values=cache,
        use_cache=True,
    )
    return out.last_hidden_state
