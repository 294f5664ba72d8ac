"""Sampled texts follow the model's own probabilities: chi-square on texts of two tokens of a small vocabulary.

The test is at p > 0.001 with seeds fixed. Probabilities are those of transformers' forward pass, the filters those of
the naive definition in test_sampling.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chisquare
from test_engine import policy_of
from test_sampling import by_definition
from tiny import BUILDERS
from transformers import PreTrainedModel

from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig

VOCAB, DRAWS, BOUND = 9, 4000, 0.001
PROMPT = [3, 7, 4, 5]
FILTERS = [
    {},
    {"temperature": 0.6},
    {"top_k": 4},
    {"top_p": 0.8},
    {"min_p": 0.2},
    {"temperature": 1.5, "top_k": 7, "top_p": 0.9, "min_p": 0.05},
]


def small(name: str) -> PreTrainedModel:
    torch.manual_seed(1)
    lm = BUILDERS[name](vocab=VOCAB)
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return lm.eval()


@torch.no_grad()
def next_shares(lm: PreTrainedModel, made: list[int], config: SamplingConfig) -> list[float]:
    """Probability of each next token behind the prompt and what has been made."""
    if lm.config.is_encoder_decoder:
        start = [lm.config.decoder_start_token_id]
        out = lm(input_ids=torch.tensor([PROMPT]), decoder_input_ids=torch.tensor([start + made]))
    else:
        out = lm(input_ids=torch.tensor([PROMPT + made]))
    logits = out.logits[0, -1].double().tolist()
    kept, margin = by_definition(logits, config)
    assert config.top_p == 1 or margin > 1e-4, "rounding decides about the set; take another seed"
    weights = [math.exp(x / config.temperature) if i in kept else 0.0 for i, x in enumerate(logits)]
    return [w / sum(weights) for w in weights]


def shares(lm: PreTrainedModel, config: SamplingConfig) -> dict[tuple[int, int], float]:
    """Probability of each text of two tokens that may be drawn."""
    first = next_shares(lm, [], config)
    pairs = {(i, j): p * q for i, p in enumerate(first) if p for j, q in enumerate(next_shares(lm, [i], config))}
    return {pair: share for pair, share in pairs.items() if share}


def p_value(counts: dict[tuple[int, int], int], expected: dict[tuple[int, int], float]) -> float:
    """Chi-square of counts against shares; texts that are expected fewer than five times are one class."""
    total = sum(counts.values())
    often = [pair for pair, share in expected.items() if share * total >= 5]
    found, wanted = [counts.get(pair, 0) for pair in often], [expected[pair] * total for pair in often]
    if len(often) < len(expected):
        found, wanted = [*found, total - sum(found)], [*wanted, total - sum(wanted)]
    return float(chisquare(found, wanted).pvalue)


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, FILTERS[-1]) for name in BUILDERS), *(("llama", o) for o in FILTERS[:-1]), ("t5", {}), ("bart", {})],
    ids=str,
)
def test_texts_come_as_often_as_the_model_says(name, options):
    lm, config = small(name), SamplingConfig(max_new_tokens=2, **options)
    [samples] = generate(policy_of(lm), [PROMPT], eos_ids=[], sampling=config, seed=2, num_samples=DRAWS)
    counts: dict[tuple[int, int], int] = {}
    for sample in samples:
        pair = (sample.ids[0], sample.ids[1])
        counts[pair] = counts.get(pair, 0) + 1
    expected = shares(lm, config)
    assert sum(expected.values()) == pytest.approx(1)
    assert counts.keys() <= expected.keys(), "a text that is excluded"
    assert p_value(counts, expected) > BOUND
    near = config.model_copy(update={"temperature": 1.5 * config.temperature, "top_p": 1.0, "top_k": 0, "min_p": 0.0})
    assert p_value(counts, shares(lm, near)) < BOUND / 1000, "a distribution near by is told apart"
