"""What a sampled response earns: the reward model's score and named rewards, with a length term."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from homestretch.batch import SequenceBatch
from homestretch.config.rewards import MODEL
from homestretch.config.rollouts import RolloutConfig
from homestretch.data.records import Example
from homestretch.data.tokenize import TokenizedExample
from homestretch.ops.best_of import spread
from homestretch.rewards.model import RewardModel
from homestretch.rewards.named import NamedReward, of_samples
from homestretch.rewards.shaping import length_penalty, shaped_reward
from homestretch.training.context import Context

LENGTH_COEF = {"ratio": 1.0, "deviation": 1.0, "linear": 0.01, "budget": 0.05, "none": 0.0}
BUDGET_OF_MEDIAN = 1.2


class StageRewards(NamedTuple):
    """A stage's own rewards beside its reward model, with their weights, and those that are logged only."""

    named: list[NamedReward]
    golden: list[NamedReward]


def stage_rewards(context: Context, config: RolloutConfig, scales: Mapping[str, float] | None = None) -> StageRewards:
    """What the settings name, loaded once; `scales` is what rewards are divided by. Raises InputError."""
    terms = {
        name: term.model_copy(update={"weight": term.weight / (scales or {}).get(name, 1.0)})
        for name, term in config.rewards.items()
    }
    return StageRewards(context.named_rewards(terms), context.named_rewards(config.golden))


def terminal_reward(
    context: Context,
    reward: RewardModel | None,
    config: RolloutConfig,
    rows: list[TokenizedExample],
    rewards: StageRewards,
    *,
    scales: Mapping[str, float] | None = None,
    examples: Sequence[Example] | None = None,
) -> Callable[[SequenceBatch], tuple[Tensor, dict[str, Tensor]]]:
    """The shaped reward of responses (sheet 2.4) and its parts for the log; without a model its score is 0.

    The rewards `golden` are logged and not part of it. `scales` is what the score (`model`) is divided by. Responses
    answer `examples`, by default those of training, whose tokens `rows` are.
    """
    answered = context.splits.train if examples is None else examples
    weight = config.rewards[MODEL].weight if MODEL in config.rewards else 1.0
    weight /= (scales or {}).get(MODEL, 1.0)
    coef = LENGTH_COEF[config.length_penalty] if config.length_coef is None else config.length_coef
    budget = config.length_budget or BUDGET_OF_MEDIAN * statistics.median(row.ref_length for row in rows)

    def score(responses: SequenceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        score_B = responses.mask_BT.new_zeros(len(responses)).float() if reward is None else reward.score_ids(responses)
        assert responses.ref_length_B is not None and responses.terminated_B is not None
        parts = by_name(context, responses, rewards.named, answered)
        logged = by_name(context, responses, rewards.golden, answered)
        held_out = {f"golden/{name}": part_B for name, part_B in logged.items()}
        penalty_B = length_penalty(
            responses.length_B, responses.ref_length_B, form=config.length_penalty, coef=coef, budget=budget
        )
        shaped_B = shaped_reward(
            score_B,
            penalty_B,
            responses.terminated_B,
            reward_clip_range=config.reward_clip_range,
            missing_eos_penalty=config.missing_eos_penalty,
            weight=weight,
        )
        scores = {} if reward is None else {"scores": score_B}
        return sum(parts.values(), shaped_B), scores | {"length_penalty": penalty_B, **parts, **held_out}

    return score


def spreads(
    context: Context, reward: RewardModel | None, config: RolloutConfig, responses: SequenceBatch
) -> dict[str, Tensor]:
    """Standard deviation of the reward model's score (`model`) and of each named reward over samples, scalars; 1 where
    all are worth the same. What is clipped is clipped first."""
    terms = {name: term.model_copy(update={"weight": 1.0}) for name, term in config.rewards.items()}
    found = of_samples(context.named_rewards(terms), context.splits.train, responses, context.tokenizer)
    if reward is not None:
        limit = config.reward_clip_range or torch.inf
        found[MODEL] = reward.score_ids(responses).clamp(-limit, limit)
    return {name: spread(part_B.float().cpu()) for name, part_B in found.items()}


def by_name(
    context: Context, responses: SequenceBatch, rewards: Sequence[NamedReward], examples: Sequence[Example]
) -> dict[str, Tensor]:
    """Weighted rewards (B,) by name, with the columns of the examples that are answered; 0 where one does not apply."""
    parts = of_samples(rewards, examples, responses, context.tokenizer)
    return {name: part_B.nan_to_num() for name, part_B in parts.items()}
