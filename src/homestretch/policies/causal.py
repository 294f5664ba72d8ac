"""Causal language models: states of responses, and step-by-step decoding."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homestretch.batch import SequenceBatch
from homestretch.ops.masks import left_padded
from homestretch.policies import caches
from homestretch.policies.branches import ahead_hidden, branch_hidden
from homestretch.policies.cache import growing_cache
from homestretch.policies.fixed import FixedSteps
from homestretch.policies.packed import packed_hidden, packs
from homestretch.policies.rows import decoder_of, joined_hidden


def response_hidden(lm: PreTrainedModel, batch: SequenceBatch, inputs_embeds: Tensor | None = None) -> Tensor:
    """Hidden states (B, S, D) of a batch, S = T + 1: state t has seen the prompt and t response tokens.

    Rows that share a prompt are packed into one (`ops.packing`), where the model allows it; else prompt and response
    are joined without a gap. The result does not depend on the side of the prompt's
    padding. `inputs_embeds` (B, L, D) replaces the embeddings of the joined rows.
    """
    if inputs_embeds is None and len(batch.distinct_prompts[0]) < len(batch) and packs(lm):
        return packed_hidden(lm, batch)
    return joined_hidden(lm, batch, inputs_embeds)


class CausalDecoding:
    """Rows that are being decoded: their cache, and `hidden_BD`, the state that predicts the next token. With `fixed`
    steps they are computed in fixed shapes and places."""

    joins = True
    fixed: FixedSteps | None = None

    def __init__(self, lm: PreTrainedModel, prompt_ids_BP: Tensor, prompt_mask_BP: Tensor) -> None:
        self.lm, self.decoder = lm, decoder_of(lm)
        self.cache = growing_cache()
        ids_BP, mask_BP = left_padded(prompt_ids_BP, prompt_mask_BP)
        self.mask_BL = mask_BP.new_zeros(len(mask_BP), 0)
        self.hidden_BD = self.read(ids_BP, mask_BP)[:, -1]

    def read(self, ids_BN: Tensor, mask_BN: Tensor) -> Tensor:
        """Append N tokens to every row, of which the mask says which are real, and return their states (B, N, D)."""
        self.mask_BL = torch.cat([self.mask_BL, mask_BN], dim=1)
        position_BN = (self.mask_BL.cumsum(1) - 1).clamp(min=0)[:, -ids_BN.shape[1] :]
        out = self.decoder(
            input_ids=ids_BN,
            attention_mask=None if bool(self.mask_BL.all()) else self.mask_BL,
            position_ids=position_BN,
            past_key_values=self.cache,
            use_cache=True,
        )
        return out.last_hidden_state

    def step(self, token_B: Tensor) -> None:
        """Append one token to every row."""
        new_B1 = self.mask_BL.new_ones(len(token_B), 1)
        if self.fixed is None:
            self.hidden_BD = self.read(token_B[:, None], new_B1)[:, -1]
        else:
            self.mask_BL = torch.cat([self.mask_BL, new_B1], dim=1)
            self.hidden_BD = self.fixed.step(self.cache, token_B, self.mask_BL)

    def branch(self, ids_BTK: Tensor) -> Tensor:
        """States (B, T, K, D) behind K candidates for each of the last T tokens of every row; nothing is appended."""
        return branch_hidden(self.lm, self.cache, self.mask_BL, ids_BTK)

    def ahead(self, new_BN: Tensor, mask_BN: Tensor, ids_BK: Tensor) -> Tensor:
        """Append N tokens to every row, of which the mask says which are real, and return the states (B, K, D) behind
        K candidates for the next one."""
        self.mask_BL = torch.cat([self.mask_BL, mask_BN], dim=1)
        return ahead_hidden(self.lm, self.cache, self.mask_BL, new_BN, ids_BK)

    def cast(self, dtype: torch.dtype) -> None:
        """What has been computed so far, in another type."""
        caches.cast(self.cache, dtype)
        self.hidden_BD = self.hidden_BD.to(dtype)

    def repeat(self, times: int) -> None:
        """Every row `times` times, copies side by side: a prompt is read once for all its samples."""
        self.cache.batch_repeat_interleave(times)
        self.mask_BL = self.mask_BL.repeat_interleave(times, 0)
        self.hidden_BD = self.hidden_BD.repeat_interleave(times, 0)

    def keep(self, rows: Tensor) -> None:
        """Only these rows, in this order; columns that none of them uses are dropped."""
        used = slice(caches.first_used(self.mask_BL[rows]), None)
        caches.narrow(self.cache, used)
        self.cache.batch_select_indices(rows)
        self.mask_BL, self.hidden_BD = self.mask_BL[rows, used], self.hidden_BD[rows]

    def join(self, other: CausalDecoding) -> None:
        """The rows of another state behind these; the shorter ones get padding in front."""
        caches.join(self.cache, other.cache, padding="front")
        self.mask_BL = caches.stacked_masks(self.mask_BL, other.mask_BL, padding="front")
        self.hidden_BD = torch.cat([self.hidden_BD, other.hidden_BD])

    def token_bytes(self) -> float:
        """Memory that one token of a row takes from step to step."""
        return caches.nbytes(self.cache) / self.mask_BL.numel()

    def forget_last(self) -> None:
        """Take the last token of every row back."""
        self.cache.crop(-1)
        self.mask_BL = self.mask_BL[:, :-1]
