"""Stages that learn from the pairs alone, without a reward: `sft`, `ift`, and whatever joins them with a line of the
pipeline's table."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homestretch.algorithms.base import Algorithm, Models
from homestretch.batch import SequenceBatch
from homestretch.config.stages import kind_of
from homestretch.config.training import TrainingConfig
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_batches
from homestretch.training.context import ROLE, Context
from homestretch.training.loop import Progress
from homestretch.training.policy_stage import train_policy


def stage(algorithm_of: Callable[[Any], Algorithm]) -> Callable[[Context, Any, Path], Progress]:
    """The function of a stage; `algorithm_of(config)` makes its method."""

    def run(context: Context, config: TrainingConfig, folder: Path) -> Progress:
        """Train on the training split, keep the best checkpoint, and save its model."""
        learner = context.learner(config, kind_of(config), ROLE)
        rows = context.tokens(context.splits.train, is_encoder_decoder=learner.trunk.is_encoder_decoder)
        size = config.train_batch_size
        passes = epoch_batches(range(len(rows)), size, seed=context.recipe.seed)

        def batch_of(number: int) -> SequenceBatch:
            return collate([rows[i] for i in passes(number)])

        rounds = config.rounds(math.ceil(len(rows) / size))
        models, algorithm = Models(policy=learner.policy), algorithm_of(config)
        return train_policy(context, config, folder, learner, algorithm, models, batch_of=batch_of, rounds=rounds)

    return run
