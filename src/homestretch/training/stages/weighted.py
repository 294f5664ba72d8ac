"""Stages `wbc` and `gold`: learn from stored responses and their rewards, without sampling from the model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from homestretch.algorithms.base import Algorithm, Models
from homestretch.algorithms.gold import GOLD
from homestretch.algorithms.wbc import WBC
from homestretch.batch import SequenceBatch
from homestretch.config.gold import GOLDConfig
from homestretch.config.stages import kind_of
from homestretch.config.weighted import WeightedConfig
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_batches, priority_batch
from homestretch.training.context import ROLE, Context
from homestretch.training.loop import Progress
from homestretch.training.policy_stage import train_policy
from homestretch.training.stored_rewards import refuse_negative, stored_rewards


def run(context: Context, config: WeightedConfig, folder: Path) -> Progress:
    """Train the current model on the training split and its rewards, keep the best checkpoint, and save its model."""
    examples = context.splits.train
    rows = context.tokens(examples, is_encoder_decoder=bool(context.config.is_encoder_decoder))
    reward_N = stored_rewards(context, examples, rows, folder / "rewards", config.rewards)
    refuse_negative(reward_N, examples, kind_of(config))
    rewards = reward_N.tolist()
    rows = [replace(row, reward=reward) for row, reward in zip(rows, rewards, strict=True)]
    learner = context.learner(config, kind_of(config), ROLE)
    seed, size = context.recipe.seed, config.train_batch_size
    passes = epoch_batches(range(len(rows)), size, seed=seed)

    def batch_of(number: int) -> SequenceBatch:
        if config.sampling == "priority":
            return collate([rows[i] for i in priority_batch(rewards, size, seed=seed, number=number)])
        return collate([rows[i] for i in passes(number)])

    return train_policy(
        context,
        config,
        folder,
        learner,
        algorithm_of(config),
        Models(policy=learner.policy),
        batch_of=batch_of,
        rounds=config.rounds(math.ceil(len(rows) / size)),
        keep_start=True,
    )


def algorithm_of(config: WeightedConfig) -> Algorithm:
    """The method that these settings belong to."""
    return GOLD(config) if isinstance(config, GOLDConfig) else WBC()
