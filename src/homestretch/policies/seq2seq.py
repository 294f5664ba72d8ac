"""Encoder-decoder language models: states of responses, and step-by-step decoding."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from homestretch.batch import SequenceBatch
from homestretch.ops.masks import right_padded
from homestretch.policies.causal import cast_cache


def start_id(lm: PreTrainedModel) -> int:
    """The token that a decoder reads first."""
    start = lm.config.decoder_start_token_id
    return int(lm.generation_config.decoder_start_token_id if start is None else start)


def _start_B(lm: PreTrainedModel, rows: int, device: torch.device) -> Tensor:
    return torch.full((rows,), start_id(lm), dtype=torch.long, device=device)


def response_hidden(lm: PreTrainedModel, batch: SequenceBatch, inputs_embeds: Tensor | None = None) -> Tensor:
    """Hidden states (B, S, D) of a batch, S = T + 1: state t has seen the prompt and t response tokens.

    The encoder reads each distinct prompt once. `inputs_embeds` (B, S, D) replaces the embeddings of the decoder's
    input: start token, then the response.
    """
    first_U, inverse_B = batch.distinct_prompts
    # Encoders with absolute positions would see left padding as an offset.
    prompt_ids_UP, prompt_mask_UP = right_padded(batch.prompt_ids_BP[first_U], batch.prompt_mask_BP[first_U])
    encoded_UPD = lm.get_encoder()(input_ids=prompt_ids_UP, attention_mask=prompt_mask_UP).last_hidden_state
    start_B = _start_B(lm, len(batch), batch.ids_BT.device)
    ids_BS = torch.cat([start_B[:, None], batch.ids_BT * batch.mask_BT], dim=1)
    inputs = {"input_ids": ids_BS} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
    out = lm.get_decoder()(
        **inputs,
        encoder_hidden_states=encoded_UPD[inverse_B],
        encoder_attention_mask=prompt_mask_UP[inverse_B],
        use_cache=False,
    )
    return out.last_hidden_state


class Seq2SeqDecoding:
    """Rows that are being decoded: their caches, and `hidden_BD`, the state that predicts the next token.

    The encoder reads each prompt once, whatever the number of samples. Decoders with absolute positions count from the
    start of the cache, so rows that start later cannot join.
    """

    joins = False

    def __init__(self, lm: PreTrainedModel, prompt_ids_BP: Tensor, prompt_mask_BP: Tensor) -> None:
        self.decoder = lm.get_decoder()
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids_BP, self.prompt_mask_BP = right_padded(prompt_ids_BP, prompt_mask_BP)
        self.encoded_BPD = lm.get_encoder()(input_ids=ids_BP, attention_mask=self.prompt_mask_BP).last_hidden_state
        self.hidden_BD = self._forward(_start_B(lm, len(ids_BP), ids_BP.device)[:, None])

    def _forward(self, ids_BN: Tensor) -> Tensor:
        out = self.decoder(
            input_ids=ids_BN,
            encoder_hidden_states=self.encoded_BPD,
            encoder_attention_mask=self.prompt_mask_BP,
            past_key_values=self.cache,
            use_cache=True,
        )
        return out.last_hidden_state[:, -1]

    def step(self, token_B: Tensor) -> None:
        """Append one token to every row."""
        self.hidden_BD = self._forward(token_B[:, None])

    def cast(self, dtype: torch.dtype) -> None:
        """What has been computed so far, in another type."""
        cast_cache(self.cache.self_attention_cache, dtype)
        cast_cache(self.cache.cross_attention_cache, dtype)
        self.encoded_BPD, self.hidden_BD = self.encoded_BPD.to(dtype), self.hidden_BD.to(dtype)

    def repeat(self, times: int) -> None:
        """Every row `times` times, copies side by side."""
        self.cache.batch_repeat_interleave(times)
        self.prompt_mask_BP = self.prompt_mask_BP.repeat_interleave(times, 0)
        self.encoded_BPD = self.encoded_BPD.repeat_interleave(times, 0)
        self.hidden_BD = self.hidden_BD.repeat_interleave(times, 0)

    def keep(self, rows: Tensor) -> None:
        """Only these rows, in this order."""
        self.cache.batch_select_indices(rows)
        self.prompt_mask_BP, self.encoded_BPD = self.prompt_mask_BP[rows], self.encoded_BPD[rows]
        self.hidden_BD = self.hidden_BD[rows]

    def forget_last(self) -> None:
        """Take the last token of every row back."""
        self.cache.self_attention_cache.crop(-1)
