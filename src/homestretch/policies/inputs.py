"""What a decoder reads: the token ids whose embeddings `inputs_embeds` can replace."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homestretch.batch import SequenceBatch
from homestretch.ops.masks import compact
from homestretch.policies.seq2seq import start_id


def decoder_inputs(lm: PreTrainedModel, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
    """Token ids (B, L) and a mask (B, L) that is 1 on response tokens, 0 on whatever stands before and on padding.

    A causal model reads the prompt and, without a gap, the response; the decoder behind an encoder reads its start
    token and the response.
    """
    if lm.config.is_encoder_decoder:
        start_B1 = torch.full_like(batch.ids_BT[:, :1], start_id(lm))
        mask_BL = torch.cat([torch.zeros_like(start_B1), batch.mask_BT], 1)
        return torch.cat([start_B1, batch.ids_BT * batch.mask_BT], 1), mask_BL
    ids_BL, mask_BL, prompt_length_B = compact(batch.prompt_ids_BP, batch.prompt_mask_BP, batch.ids_BT, batch.mask_BT)
    column_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
    return ids_BL, mask_BL * (column_L >= prompt_length_B[:, None])
