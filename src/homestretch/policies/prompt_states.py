"""Hidden states of prompts alone, which do not depend on any response."""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedModel

from homestretch.batch import SequenceBatch
from homestretch.ops.masks import right_padded
from homestretch.policies.rows import decoder_of


def prompt_hidden(lm: PreTrainedModel, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Last hidden states (U, P, D) of each distinct prompt, their mask (U, P), and each row's position among them (B,).

    An encoder-decoder model gives the output of its encoder. The states do not depend on padding.
    """
    first_U, inverse_B = batch.distinct_prompts
    ids_UP, mask_UP = right_padded(batch.prompt_ids_BP[first_U], batch.prompt_mask_BP[first_U])
    if lm.config.is_encoder_decoder:
        return lm.get_encoder()(input_ids=ids_UP, attention_mask=mask_UP).last_hidden_state, mask_UP, inverse_B
    # Padded on the right, so that causal attention needs no mask.
    return decoder_of(lm)(input_ids=ids_UP, use_cache=False).last_hidden_state, mask_UP, inverse_B
