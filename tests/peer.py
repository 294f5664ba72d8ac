"""What transformers' `generate` makes of a prompt, the reference for the decode loop and for beam search."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel


def continued(lm: PreTrainedModel, prompt: list[int], ends: list[int], new: int, **options: Any) -> list[list[int]]:
    """Token ids behind one prompt, end marker included and padding not, best first where several are asked for."""
    config = GenerationConfig(
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=0,
        decoder_start_token_id=getattr(lm.config, "decoder_start_token_id", None),
        **options,
    )
    ids = torch.tensor([prompt])
    made = lm.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config).tolist()
    read = 1 if lm.config.is_encoder_decoder else len(prompt)
    return [until_end(row[read:], ends) for row in made]


def until_end(ids: list[int], ends: list[int]) -> list[int]:
    """The ids up to the first end marker, without the padding that follows a shorter one of several."""
    return ids[: 1 + min((ids.index(end) for end in ends if end in ids), default=len(ids))]
