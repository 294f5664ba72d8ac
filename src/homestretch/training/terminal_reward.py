"""What a sampled response earns: the reward model's score and rewards by rule, with a length term."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from homestretch.batch import SequenceBatch
from homestretch.collectives import mapped
from homestretch.config.rollouts import RolloutConfig
from homestretch.data.tokenize import TokenizedExample
from homestretch.rewards.base import Reward
from homestretch.rewards.model import RewardModel
from homestretch.rewards.rules import REWARDS
from homestretch.rewards.shaping import length_penalty, shaped_reward
from homestretch.training.context import Context

LENGTH_COEF = {"ratio": 1.0, "linear": 0.01, "budget": 0.05, "none": 0.0}
BUDGET_OF_MEDIAN = 1.2


def terminal_reward(
    context: Context, reward: RewardModel | None, config: RolloutConfig, rows: list[TokenizedExample]
) -> Callable[[SequenceBatch], tuple[Tensor, dict[str, Tensor]]]:
    """The shaped reward of responses (sheet 2.4) and its parts for the log; without a model its score is 0."""
    coef = LENGTH_COEF[config.length_penalty] if config.length_coef is None else config.length_coef
    budget = config.length_budget or BUDGET_OF_MEDIAN * statistics.median(row.ref_length for row in rows)

    def score(responses: SequenceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        score_B = responses.mask_BT.new_zeros(len(responses)).float() if reward is None else reward.score_ids(responses)
        assert responses.ref_length_B is not None and responses.terminated_B is not None
        ruled = by_rule(context, responses, config.rewards)
        penalty_B = length_penalty(
            responses.length_B, responses.ref_length_B, form=config.length_penalty, coef=coef, budget=budget
        )
        shaped_B = shaped_reward(
            score_B,
            penalty_B,
            responses.terminated_B,
            reward_clip_range=config.reward_clip_range,
            missing_eos_penalty=config.missing_eos_penalty,
        )
        scores = {} if reward is None else {"scores": score_B}
        return sum(ruled.values(), shaped_B), scores | {"length_penalty": penalty_B, **ruled}

    return score


def by_rule(context: Context, responses: SequenceBatch, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weighted rewards (B,) of `rewards.rules` by name, with the references of the responses' training rows."""
    if not any(weights.values()):
        return {}
    assert responses.index_B is not None
    examples = [context.splits.train[i] for i in responses.index_B.tolist()]
    texts = [
        context.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
        for ids, mask in zip(responses.ids_BT, responses.mask_BT, strict=True)
    ]
    rows = [(e.source, text, e.references) for e, text in zip(examples, texts, strict=True)]

    def rewards(reward: Reward) -> Tensor:
        def of_rows(some: list[tuple[str, str, Sequence[str]]]) -> Sequence[float | None]:
            sources, texts, references = (list(column) for column in zip(*some, strict=True))
            return reward(sources, texts, references=references)

        return torch.tensor(mapped(of_rows, rows), device=responses.ids_BT.device)

    return {name: weight * rewards(REWARDS[name]) for name, weight in weights.items() if weight}
