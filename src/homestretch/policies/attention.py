"""Which attention a pass over short rows is computed with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

from homestretch.batch import SequenceBatch

PLAIN_CELLS = 2**17
"""Pairs of tokens of a pass up to which plain products of matrices are taken on a CPU; they are kept for the backward
pass, some 300 MB of a model with 30 layers of 9 heads."""


@contextmanager
def plain_if_short(lm: PreTrainedModel, batch: SequenceBatch) -> Iterator[None]:
    """Plain attention (`eager`) in the block, where the model has fused attention, runs on a CPU, and rows are short.

    Fused attention (`sdpa`) saves memory that short rows do not need, and its backward pass on a CPU takes longer than
    theirs: a training step of the built-in model is 1.2 times as fast without it (`benchmarks/training_step.py`).
    """
    # Activations that are computed again in the backward pass, behind the block, must be computed in the same way.
    again = any(getattr(module, "gradient_checkpointing", False) for module in lm.modules())
    fused = lm.config._attn_implementation == "sdpa"
    if lm.device.type != "cpu" or not fused or again or cells(batch) > PLAIN_CELLS:
        yield
        return
    lm.set_attn_implementation("eager")
    try:
        yield
    finally:
        lm.set_attn_implementation("sdpa")


def cells(batch: SequenceBatch) -> int:
    """Pairs of tokens that see each other or might: the squared lengths of prompts with all their responses."""
    prompt_B, prompt_length_B, length_B = batch.lengths
    row_lengths = Counter(dict(zip(prompt_B, prompt_length_B, strict=True)))
    for prompt, length in zip(prompt_B, length_B, strict=True):
        row_lengths[prompt] += length
    return sum(n * n for n in row_lengths.values())
