"""Lists of token ids as batches: prompts padded on the left, responses on the right, masks born from lengths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from homestretch.batch import PairBatch, SequenceBatch
from homestretch.data.prompts import completion_ids, prompt_ids
from homestretch.data.records import Text
from homestretch.data.tokenize import TokenizedExample, TokenizedPair

_PAD = 0  # any id that exists: the mask, not the id, says what is padding


def pad(rows: Sequence[Sequence[int]], *, side: str) -> tuple[Tensor, Tensor]:
    """Ids and mask, both (B, longest row) and at least one column wide; `side` is where the padding goes."""
    width = max([1, *map(len, rows)])
    ids = torch.full((len(rows), width), _PAD, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        span = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, span] = torch.tensor(row, dtype=torch.long)
        mask[i, span] = 1
    return ids, mask


def collate(rows: Sequence[TokenizedExample]) -> SequenceBatch:
    """One batch of the rows in their order; `reward_B` only where every row has a reward."""
    prompt_ids_BP, prompt_mask_BP = pad([r.prompt_ids for r in rows], side="left")
    ids_BT, mask_BT = pad([r.completion_ids for r in rows], side="right")
    rewards = [r.reward for r in rows if r.reward is not None]
    return SequenceBatch(
        prompt_ids_BP=prompt_ids_BP,
        prompt_mask_BP=prompt_mask_BP,
        ids_BT=ids_BT,
        mask_BT=mask_BT,
        index_B=torch.tensor([r.index for r in rows]),
        ref_length_B=torch.tensor([r.ref_length for r in rows]),
        reward_B=torch.tensor(rewards, dtype=torch.float32) if len(rewards) == len(rows) else None,
        terminated_B=torch.tensor([r.terminated for r in rows]),
    )


def collate_pairs(pairs: Sequence[TokenizedPair], *, failure_modes: Sequence[str] | None = None) -> PairBatch:
    """One batch of both sides. `failure_mode_B` are positions in `failure_modes`; a pair's mode must be there."""
    return PairBatch(
        chosen=collate([p.chosen for p in pairs]),
        rejected=collate([p.rejected for p in pairs]),
        margin_B=torch.tensor([p.margin for p in pairs], dtype=torch.float32),
        failure_mode_B=torch.tensor([failure_modes.index(p.failure_mode) for p in pairs]) if failure_modes else None,
    )


def collate_texts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Text],
    completions: Sequence[str],
    *,
    terminated: Sequence[bool],
    is_encoder_decoder: bool,
) -> SequenceBatch:
    """One batch of texts that this tokenizer may never have seen; `terminated`: which completions get an end marker."""
    rows = []
    for i, (prompt, completion, ended) in enumerate(zip(prompts, completions, terminated, strict=True)):
        before = prompt_ids(prompt, tokenizer, is_encoder_decoder=is_encoder_decoder)
        answer = completion_ids(completion, prompt, tokenizer, is_encoder_decoder=is_encoder_decoder, terminated=ended)
        rows.append(TokenizedExample(i, before, answer, len(answer), ended))
    return collate(rows)
