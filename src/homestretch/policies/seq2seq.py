"""Encoder-decoder language models: states of responses, and step-by-step decoding."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import EncoderDecoderCache, PreTrainedModel

from homestretch.batch import SequenceBatch
from homestretch.ops.masks import right_padded
from homestretch.policies import caches
from homestretch.policies.cache import growing_cache
from homestretch.policies.rows import shared_rows

TOLERANCE = 1e-3
_JOINS: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


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
        encoder_hidden_states=shared_rows(encoded_UPD, inverse_B),
        encoder_attention_mask=prompt_mask_UP[inverse_B],
        use_cache=False,
    )
    return out.last_hidden_state


class Seq2SeqDecoding:
    """Rows that are being decoded: their caches, and `hidden_BD`, the state that predicts the next token.

    The encoder reads each prompt once, whatever the number of samples. A row that joins later gets padding in front of
    its tokens, which suits decoders with relative positions (T5) but not those that count from the start of the cache
    (BART); each model is tried once.
    """

    def __init__(self, lm: PreTrainedModel, prompt_ids_BP: Tensor, prompt_mask_BP: Tensor) -> None:
        self.lm, self.decoder = lm, lm.get_decoder()
        self.cache = EncoderDecoderCache(growing_cache(), growing_cache())
        ids_BP, self.prompt_mask_BP = right_padded(prompt_ids_BP, prompt_mask_BP)
        self.encoded_BPD = lm.get_encoder()(input_ids=ids_BP, attention_mask=self.prompt_mask_BP).last_hidden_state
        self.mask_BL = ids_BP.new_zeros(len(ids_BP), 0)
        self.hidden_BD = self._forward(_start_B(lm, len(ids_BP), ids_BP.device)[:, None])

    @property
    def joins(self) -> bool:
        """Whether rows that start later can join these."""
        if self.lm not in _JOINS:
            _JOINS[self.lm] = _joined_rows_agree(self.lm)
        return _JOINS[self.lm]

    def _forward(self, ids_BN: Tensor) -> Tensor:
        self.mask_BL = torch.cat([self.mask_BL, torch.ones_like(ids_BN)], dim=1)
        out = self.decoder(
            input_ids=ids_BN,
            attention_mask=None if bool(self.mask_BL.all()) else self.mask_BL,
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
        caches.cast(self.cache.self_attention_cache, dtype)
        caches.cast(self.cache.cross_attention_cache, dtype)
        self.encoded_BPD, self.hidden_BD = self.encoded_BPD.to(dtype), self.hidden_BD.to(dtype)

    def repeat(self, times: int) -> None:
        """Every row `times` times, copies side by side."""
        self.cache.batch_repeat_interleave(times)
        self.mask_BL = self.mask_BL.repeat_interleave(times, 0)
        self.prompt_mask_BP = self.prompt_mask_BP.repeat_interleave(times, 0)
        self.encoded_BPD = self.encoded_BPD.repeat_interleave(times, 0)
        self.hidden_BD = self.hidden_BD.repeat_interleave(times, 0)

    def keep(self, rows: Tensor) -> None:
        """Only these rows, in this order; columns that none of them uses are dropped."""
        used = slice(caches.first_used(self.mask_BL[rows]), None)
        read = slice(int(self.prompt_mask_BP[rows].sum(1).max()))
        caches.narrow(self.cache.self_attention_cache, used)
        caches.narrow(self.cache.cross_attention_cache, read)
        self.cache.batch_select_indices(rows)
        self.mask_BL, self.hidden_BD = self.mask_BL[rows, used], self.hidden_BD[rows]
        self.prompt_mask_BP, self.encoded_BPD = self.prompt_mask_BP[rows, read], self.encoded_BPD[rows, read]

    def join(self, other: Seq2SeqDecoding) -> None:
        """The rows of another state behind these: tokens are padded in front, prompts behind."""
        caches.join(self.cache.self_attention_cache, other.cache.self_attention_cache, padding="front")
        caches.join(self.cache.cross_attention_cache, other.cache.cross_attention_cache, padding="behind")
        self.mask_BL = caches.stacked_masks(self.mask_BL, other.mask_BL, padding="front")
        self.prompt_mask_BP = caches.stacked_masks(self.prompt_mask_BP, other.prompt_mask_BP, padding="behind")
        self.encoded_BPD = caches.stacked(self.encoded_BPD, other.encoded_BPD, padding="behind")
        self.hidden_BD = torch.cat([self.hidden_BD, other.hidden_BD])

    def token_bytes(self) -> float:
        """Memory that one token takes from step to step: one of a prompt, which takes more than one of a response."""
        read = caches.nbytes(self.cache.cross_attention_cache) + self.encoded_BPD.nbytes
        return read / self.prompt_mask_BP.numel()

    def forget_last(self) -> None:
        """Take the last token of every row back."""
        self.cache.self_attention_cache.crop(-1)
        self.mask_BL = self.mask_BL[:, :-1]


@torch.no_grad()
def _joined_rows_agree(lm: PreTrainedModel) -> bool:
    """Whether a row that joins after five tokens has the states that it has by itself."""
    ids_N = torch.arange(1, 12, device=lm.device)[None] % lm.config.get_text_config(decoder=True).vocab_size

    def started(prompt_1P: Tensor) -> Seq2SeqDecoding:
        return Seq2SeqDecoding(lm, prompt_1P, torch.ones_like(prompt_1P))

    with torch.autocast(lm.device.type, enabled=False):
        joined, alone = started(ids_N[:, :3]), started(ids_N[:, 3:8])
        for token_B in ids_N[:, :5].T:
            joined.step(token_B)
        joined.join(started(ids_N[:, 3:8]))
        for token_B in ids_N[:, 8:].T:
            joined.step(token_B.expand(2))
            alone.step(token_B)
    error = (joined.hidden_BD[1] - alone.hidden_BD[0]).float().norm() / alone.hidden_BD.float().norm()
    return bool(error <= (TOLERANCE if lm.dtype in (torch.float32, torch.float64) else 50 * TOLERANCE))
