"""Hidden states of a causal model, one row for each response, and rows that several responses share."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

from homestretch.batch import SequenceBatch
from homestretch.ops.masks import compact, response_states


def decoder_of(lm: PreTrainedModel) -> nn.Module:
    """The stack below the LM head."""
    return getattr(lm, lm.base_model_prefix)


def shared_rows(x_UX: Tensor, row_B: Tensor) -> Tensor:
    """Rows of `x_UX` (U, ...) as often as `row_B` (B,) names them, (B, ...).

    Not `x_UX[row_B]`: with several threads on a CPU the gradients of a row are then added in the order in which the
    threads come to it, and the last bits of two equal runs differ where other processes hold one up.
    """
    return x_UX.index_select(0, row_B)


def joined_hidden(lm: PreTrainedModel, batch: SequenceBatch, inputs_embeds: Tensor | None = None) -> Tensor:
    """Hidden states (B, S, D) of a batch, S = T + 1, each prompt joined with its response.

    `inputs_embeds` (B, L, D) replaces the embeddings of the joined rows.
    """
    # Padded on the right, so that causal attention needs no mask.
    ids_BL, _, prompt_length_B = compact(batch.prompt_ids_BP, batch.prompt_mask_BP, batch.ids_BT, batch.mask_BT)
    inputs = {"input_ids": ids_BL} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
    hidden_BLD = decoder_of(lm)(**inputs, use_cache=False).last_hidden_state
    last_B = prompt_length_B + batch.length_B - 1
    index_BS = response_states(prompt_length_B, batch.ids_BT.shape[1], last_B=last_B)
    return hidden_BLD.gather(1, index_BS[..., None].expand(-1, -1, hidden_BLD.shape[-1]))
