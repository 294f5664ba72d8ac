"""Stages `sft` and `ift`: maximum likelihood on the pairs, as they are or with inputs mixed with predictions."""

from __future__ import annotations

import math
from pathlib import Path

from homestretch.algorithms.base import Algorithm, Models
from homestretch.algorithms.ift import IFT
from homestretch.algorithms.sft import SFT
from homestretch.batch import SequenceBatch
from homestretch.config.ift import IFTConfig
from homestretch.config.sft import SFTConfig
from homestretch.config.stages import kind_of
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_batch
from homestretch.training.context import ROLE, Context
from homestretch.training.loop import Progress
from homestretch.training.policy_stage import train_policy


def run(context: Context, config: SFTConfig | IFTConfig, folder: Path) -> Progress:
    """Train on the training split, keep the best checkpoint, and save its model."""
    learner = context.learner(config, kind_of(config), ROLE)
    rows = context.tokens(context.splits.train, is_encoder_decoder=learner.trunk.is_encoder_decoder)
    seed, size = context.recipe.seed, config.train_batch_size

    def batch_of(number: int) -> SequenceBatch:
        return collate([rows[i] for i in epoch_batch(range(len(rows)), size, seed=seed, number=number)])

    rounds = config.rounds(math.ceil(len(rows) / size))
    models = Models(policy=learner.policy)
    algorithm = algorithm_of(config, rounds)
    return train_policy(context, config, folder, learner, algorithm, models, batch_of=batch_of, rounds=rounds)


def algorithm_of(config: SFTConfig | IFTConfig, rounds: int) -> Algorithm:
    """The method that these settings belong to."""
    return IFT(config, rounds) if isinstance(config, IFTConfig) else SFT()
