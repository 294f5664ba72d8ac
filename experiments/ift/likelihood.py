"""How well a model predicts references: behind their own beginnings, and behind its own.

    nll   = -(1/N) sum_{t <= N} ln p(y_t | x, y_<t)                                                      (1)
    gap   = -(1/(N-k)) sum_{t > k} { ln p(y_t | x, g_<=k, y_k+1..t-1) - ln p(y_t | x, y_<t) },  k = floor(N / 2)  (2)

Notation    y: first reference, end marker included, N tokens    g: the model's greedy output, without its end marker;
            where it has fewer than k tokens, all of them

Eq. 2 is the exposure gap: the same tokens, the second half of the reference, behind what the model wrote itself and
behind what it was taught. It asks for nothing that a reference-free measure would need, and it is no pure measure of
error: a good output that says things in another order has a gap too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from homestretch.config.recipe import DatasetConfig
from homestretch.data.collate import collate
from homestretch.data.records import Example
from homestretch.data.tokenize import TokenizedExample, tokenize_examples
from homestretch.policies.load import choose_device, load_tokenizer, load_trunk
from homestretch.policies.policy import Policy
from homestretch.policies.precision import autocast

Row = Mapping[str, Any]
BUDGET = 4096
"""Padded tokens of one pass."""


def behind(gold: TokenizedExample, output_ids: Sequence[int]) -> TokenizedExample:
    """The second half of a reference behind the prompt and the first tokens of an output (the left side of eq. 2)."""
    half = len(gold.completion_ids) // 2
    prompt_ids = [*gold.prompt_ids, *output_ids[:half]]
    return replace(gold, prompt_ids=prompt_ids, completion_ids=gold.completion_ids[half:])


def likelihoods(logp_BT: Tensor, logp_behind_BT: Tensor, lengths: Sequence[int]) -> list[dict[str, float]]:
    """Eq. 1 and 2 of each row, in nats a token.

    logp_BT          (B, T) log-probabilities of references behind their own tokens
    logp_behind_BT   (B, T') of their second halves behind the output's tokens
    lengths          N of each row, >= 1
    """
    found = []
    for own_T, behind_T, n in zip(logp_BT, logp_behind_BT, lengths, strict=True):
        half = n // 2
        gap = own_T[half:n].mean() - behind_T[: n - half].mean()
        found.append({"nll": -float(own_T[:n].mean()), "exposure_gap": float(gap)})
    return found


@torch.no_grad()
def measured(model: str, rows: Sequence[Row], data: DatasetConfig) -> list[dict[str, float]]:
    """Eq. 1 and 2 of greedy outputs of `model`, rows of a `generations.jsonl` with text prompts."""
    tokenizer = load_tokenizer(model)

    def tokens(texts: list[str]) -> list[TokenizedExample]:
        examples = [
            Example(str(r["id"]), r["prompt"], text, (text,), r["source"], str(r["id"]), {})
            for r, text in zip(rows, texts, strict=True)
        ]
        return tokenize_examples(
            examples,
            tokenizer,
            is_encoder_decoder=False,
            max_prompt_length=data.max_prompt_length,
            max_completion_length=data.max_completion_length,
            truncate=True,
        )

    gold, outputs = tokens([r["references"][0] for r in rows]), tokens([r["text"] for r in rows])
    ends = [set(o.completion_ids[-1:]) if o.terminated else set() for o in outputs]
    plain = [[i for i in o.completion_ids if i not in end] for o, end in zip(outputs, ends, strict=True)]
    trunk = load_trunk(model, device=choose_device())
    policy = Policy(trunk, None, budget=BUDGET, autocast=autocast(trunk.device))
    own, shifted = (
        policy.score(collate(part), want={"logp"}).logp_BT.float()
        for part in (gold, [behind(g, ids) for g, ids in zip(gold, plain, strict=True)])
    )
    return likelihoods(own, shifted, [len(g.completion_ids) for g in gold])
