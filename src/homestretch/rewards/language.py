"""Whether a text is correct language: what a language model thinks of it, repetition, and how its sentences are set.

    m         = mean over tokens of ln p(y_t | y_<t), nats, under a reference model, without a prompt
    fluency   = (m - LOW) / (HIGH - LOW), cut to [0, 1]
    repeated  = share of repeated word 4-grams
    set       = share of sentences that start with no small letter and end in a mark that ends one

    language_correctness = 1/2 fluency + 1/4 (1 - repeated) + 1/4 set

LOW and HIGH are ours: words in disorder have about -7 nats a token under a small model, plain prose -4 to -2.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from homestretch.batch import SequenceBatch
from homestretch.config.training import MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_CPU
from homestretch.data.collate import pad
from homestretch.data.prompts import end_marker
from homestretch.errors import InputError
from homestretch.metrics.diversity import repeated_share
from homestretch.metrics.sentences import is_finished, sentences, words
from homestretch.policies.load import load_lm, load_tokenizer
from homestretch.policies.memory import within_memory
from homestretch.policies.precision import autocast
from homestretch.policies.room import room
from homestretch.policies.trunk import Trunk

LOW, HIGH = -7.0, -2.0
LONGEST = 1024
"""Tokens of a text that are read, where the model has room for them."""


@dataclass
class ReferenceLM:
    """A causal language model that is asked how probable a text is."""

    trunk: Trunk
    tokenizer: PreTrainedTokenizerBase
    precision: Callable[[], AbstractContextManager[None]]

    def mean_logp(self, texts: Sequence[str]) -> list[float]:
        """Mean log-probability (at most 0, nats) of the tokens of each text, given those before them."""
        most = room(self.trunk.lm, self.tokenizer)
        longest = LONGEST if most is None else min(LONGEST, most - 1)  # the start is a token too
        cut = {"add_special_tokens": False, "truncation": True, "max_length": longest}
        ids = [self.tokenizer(text, **cut).input_ids for text in texts]
        budget = MICRO_BATCH_TOKENS_CPU if self.trunk.device.type == "cpu" else MICRO_BATCH_TOKENS
        return within_memory(lambda tokens: self._scored(ids, tokens), budget)

    @torch.no_grad()
    def _scored(self, ids: list[list[int]], budget: int) -> list[float]:
        start = self.tokenizer.bos_token_id
        start = self.tokenizer.eos_token_id if start is None else start
        ids_BT, mask_BT = pad(ids, side="right")
        one_B1 = torch.ones(len(ids), 1, dtype=torch.long)
        batch = SequenceBatch(prompt_ids_BP=start * one_B1, prompt_mask_BP=one_B1, ids_BT=ids_BT, mask_BT=mask_BT)
        means = torch.zeros(len(ids))
        for part in batch.parts(budget):
            some = batch.select(part)
            with self.precision():
                logp_BT = self.trunk(some.to(self.trunk.device), adapter=None, want={"logp"}).logp_BT
            means[part] = _mean(logp_BT.float().cpu(), some.mask_BT)
        return means.tolist()


def _mean(logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return (logp_BT * mask_BT).sum(1) / mask_BT.sum(1).clamp(min=1)


def language_correctness(texts: Sequence[str], model: ReferenceLM) -> list[float]:
    """How correct the language of each text is, 0 to 1; 1 is best."""
    return [
        fluency(logp) / 2 + (1 - repeated_share(words(text))) / 4 + well_set(text) / 4
        for text, logp in zip(texts, model.mean_logp(texts), strict=True)
    ]


def fluency(mean_logp: float) -> float:
    """A mean log-probability on the scale of 0 to 1."""
    return min(max((mean_logp - LOW) / (HIGH - LOW), 0.0), 1.0)


def well_set(text: str) -> float:
    """Share, 0 to 1, of the sentences that start and end as sentences do; 0 for a text without one."""
    found = [s for s in sentences(text) if words(s)]
    return sum(is_finished(s) and not s[0].islower() for s in found) / len(found) if found else 0.0


def load_reference_lm(name: str, device: torch.device | str) -> ReferenceLM:
    """A causal language model by folder or Hub name. Raises InputError where it cannot be loaded, is another kind of
    model, or has no token to start a text with."""
    lm = load_lm(name, device=device)
    if lm.config.is_encoder_decoder:
        raise InputError(f"`{name}` is no causal language model, and cannot say how probable a text is; name one.")
    tokenizer = load_tokenizer(name)
    if tokenizer.bos_token_id is None:
        end_marker(tokenizer)
    return ReferenceLM(Trunk(lm), tokenizer, autocast(torch.device(device)))
