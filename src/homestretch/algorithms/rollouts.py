"""What online methods have in common: what was known when responses were sampled, their replay, and what is logged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from homestretch.algorithms.base import Policy
from homestretch.batch import Scored, SequenceBatch
from homestretch.config.rollouts import RolloutConfig
from homestretch.ops.ratios import truncated_ratio
from homestretch.ops.reduce import masked_mean

Rollout = TypeVar("Rollout", bound=SequenceBatch)
Diagnostics = dict[str, tuple[Tensor, Tensor]]


def behaviour(policy: Policy, responses: SequenceBatch, *, want: Collection[str]) -> Scored:
    """What the policy says of its own responses: what it said while it sampled, or a pass where that is not kept.

    `want` names fields of tokens, such as `logp` and `value`.
    """
    sampled = responses.sampled
    if sampled is not None and all(getattr(sampled, f"{name}_BT") is not None for name in want):
        return sampled
    return policy.score(responses, want=want)


def token_weights(responses: SequenceBatch, logp_old_BT: Tensor, *, cap: float) -> Tensor:
    """What each token (B, T) counts: 1, or its ratio of eq. 3 of `ops.ratios` where another engine drew it."""
    if responses.logp_drawn_BT is None:
        return torch.ones_like(logp_old_BT)
    drawn_BT = torch.where(responses.mask_BT.bool(), responses.logp_drawn_BT, logp_old_BT)
    return truncated_ratio(logp_old_BT, drawn_BT, cap=cap)


def response_weights(responses: SequenceBatch, logp_old_BT: Tensor, *, cap: float) -> Tensor:
    """What each response (B,) counts: 1, or the ratio of whole texts where another engine drew it."""
    if responses.logp_drawn_BT is None:
        return torch.ones_like(logp_old_BT[:, 0])
    mask_BT = responses.mask_BT
    sums_B = [(logp_BT * mask_BT).sum(1) for logp_BT in (logp_old_BT, responses.logp_drawn_BT)]
    return truncated_ratio(*sums_B, cap=cap)


def replay(rollout: Rollout, number: int, config: RolloutConfig) -> Iterator[Rollout]:
    """Optimiser batches of a rollout: each row once an epoch, in an order that the number of the round decides."""
    size, generator = config.train_batch_size, torch.Generator().manual_seed(number)
    first_U, prompt_B = rollout.distinct_prompts
    for _ in range(config.num_ppo_epochs):
        # Samples of one prompt stay together: its states are then computed once for all of them.
        order = torch.randperm(len(first_U), generator=generator)[prompt_B.cpu()].argsort(stable=True)
        for at in range(0, len(order), size):
            yield rollout.select(order[at : at + size])


def sample_stats(
    responses: SequenceBatch, reward_B: Tensor, logp_old_BT: Tensor, logp_ref_BT: Tensor, parts: dict[str, Tensor]
) -> dict[str, float]:
    """Numbers of one rollout: reward and its parts, divergence, entropy, length, ends. No part takes the place of
    another number.

    Divergence and entropy are estimated from the sampled tokens, as means of ln p_old - ln p_ref and of -ln p_old.
    """
    assert responses.terminated_B is not None
    log_ratio_BT = (logp_old_BT - logp_ref_BT) * responses.mask_BT
    stats = {
        "reward": float(reward_B.mean()),
        "reward_std": float(reward_B.std(unbiased=False)),
        "objective/kl": float(log_ratio_BT.sum(1).mean()),
        "objective/entropy": -float(masked_mean(logp_old_BT, responses.mask_BT)),
        "completions/mean_length": float(responses.length_B.float().mean()),
        "completions/clipped_ratio": float((~responses.terminated_B).float().mean()),
    }
    if responses.logp_drawn_BT is not None:
        apart_BT = (logp_old_BT - responses.logp_drawn_BT).abs()
        stats["sampling/logp_difference"] = float(masked_mean(apart_BT, responses.mask_BT))
    return stats | {f"objective/{name}": float(value_B.float().mean()) for name, value_B in parts.items()} | stats


def ratio_diagnostics(logp_BT: Tensor, logp_old_BT: Tensor, mask_BT: Tensor) -> Diagnostics:
    """What the log says of an update's tokens, unreduced: how far their probabilities have moved since sampling."""
    log_ratio_BT = (logp_BT - logp_old_BT) * mask_BT
    ratio_BT = log_ratio_BT.exp()
    values = {
        "policy/approxkl_avg": 0.5 * log_ratio_BT.square(),
        "val/ratio": ratio_BT,
        "val/ratio_tail": ((ratio_BT > 2) | (ratio_BT < 0.5)).float(),
    }
    return {name: (value_BT, mask_BT) for name, value_BT in values.items()}


def clipped_share(ratio: Tensor, mask: Tensor, *, cliprange: float) -> Diagnostics:
    """Which of the ratios of a method, (B, T) of tokens or (B,) of responses, lie outside 1 +- cliprange."""
    return {"policy/clipfrac_avg": (((ratio - 1).abs() > cliprange).float(), mask)}
