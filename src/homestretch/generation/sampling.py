"""The next token as a function of logits and one random number a row.

A row's token depends on its own logits and its own number only, never on its neighbours, so the same row gives the
same text in any batch.
"""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from homestretch.config.base import Config


class SamplingConfig(Config):
    """How the next token is chosen. Temperature 0 is greedy; top-k, top-p and min-p then have no effect."""

    temperature: float = Field(1.0, ge=0)
    """Logits are divided by it; 0 takes the most probable token."""
    top_k: NonNegativeInt = 0
    """Only the k most probable tokens; 0 keeps all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Only the smallest set of most probable tokens whose mass reaches this."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Only tokens at least this probable relative to the most probable one."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Tokens that the row already has: positive logits are divided by it, others multiplied. Above 1 avoids repeats."""
    max_new_tokens: PositiveInt = 64
    """Tokens at most, end marker included."""

    @property
    def is_plain(self) -> bool:
        """Whether tokens are drawn from the policy's own distribution, nothing scaled or left out."""
        return self == SamplingConfig(max_new_tokens=self.max_new_tokens)


GREEDY = SamplingConfig(temperature=0.0)


def penalised(scores_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Scores with those of seen tokens made worse: `penalty` > 1 divides what is positive and multiplies the rest."""
    if penalty == 1.0:
        return scores_BV
    worse_BV = torch.where(scores_BV < 0, scores_BV * penalty, scores_BV / penalty)
    return torch.where(seen_BV, worse_BV, scores_BV)


def filtered_logits(logits_BV: Tensor, config: SamplingConfig) -> Tensor:
    """Logits at the temperature, minus infinity where top-k, top-p or min-p exclude a token. Temperature > 0."""
    logits_BV = logits_BV / config.temperature
    if config.top_k:
        kth_B1 = logits_BV.topk(min(config.top_k, logits_BV.shape[1]), dim=1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth_B1, -torch.inf)
    if config.min_p:
        floor_B1 = logits_BV.amax(1, keepdim=True) + torch.tensor(config.min_p).log()
        logits_BV = logits_BV.masked_fill(logits_BV < floor_B1, -torch.inf)
    if config.top_p < 1:
        sorted_BV, order_BV = logits_BV.sort(1, descending=True)
        mass_before_BV = sorted_BV.softmax(1).cumsum(1) - sorted_BV.softmax(1)
        drop_BV = torch.zeros_like(mass_before_BV, dtype=torch.bool).scatter(
            1, order_BV, mass_before_BV >= config.top_p
        )
        logits_BV = logits_BV.masked_fill(drop_BV, -torch.inf)
    return logits_BV


def choose(logits_BV: Tensor, uniform_B: Tensor, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Token ids (B,) and their log-probabilities (B,) under the distribution that was sampled from.

    Sampling inverts the cumulative distribution at `uniform_B` in [0, 1). Greedy tokens get the log-probability of
    the unscaled logits.
    """
    if config.temperature == 0:
        token_B = logits_BV.argmax(1)
        return token_B, logits_BV.gather(1, token_B[:, None]).squeeze(1) - logits_BV.logsumexp(1)
    logp_BV = filtered_logits(logits_BV, config).log_softmax(1)
    cumulative_BV = logp_BV.exp().cumsum(1)
    # The sum of float32 probabilities misses 1 by rounding; scaling keeps the number inside the last real token.
    target_B1 = uniform_B[:, None].to(cumulative_BV.dtype) * cumulative_BV[:, -1:]
    token_B = torch.searchsorted(cumulative_BV, target_B1, right=True).squeeze(1).clamp(max=logits_BV.shape[1] - 1)
    return token_B, logp_BV.gather(1, token_B[:, None]).squeeze(1)


def row_uniforms(seeds: list[int], width: int) -> Tensor:
    """(rows, width) numbers in [0, 1): a stream of its own for each row's seed."""
    streams = [torch.rand(width, generator=torch.Generator().manual_seed(seed % 2**63)) for seed in seeds]
    return torch.stack(streams)
