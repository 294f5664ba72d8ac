"""Stage `sft`: maximum likelihood on the pairs."""

from __future__ import annotations

import math
from pathlib import Path

from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import SFT
from homestretch.batch import SequenceBatch
from homestretch.config.sft import SFTConfig
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_order
from homestretch.training.context import ROLE, Context, trainable
from homestretch.training.export import save_model
from homestretch.training.loop import Plan, Progress, fit
from homestretch.training.validation import Validator


def run(context: Context, config: SFTConfig, folder: Path) -> Progress:
    """Train on the training split, keep the best checkpoint, and make its model the run's current one."""
    trunk = context.load_trunk()
    if config.use_peft:
        trunk.add_adapter(ROLE, config)
    if config.gradient_checkpointing:
        trunk.lm.gradient_checkpointing_enable()
    accelerator = context.accelerator(config)
    adapter = ROLE if config.use_peft else None
    policy = context.policy(trunk, adapter, accelerator, config)
    parameters = trainable(trunk, config, ROLE)
    rows = context.tokens(context.splits.train, is_encoder_decoder=trunk.is_encoder_decoder)
    per_epoch = math.ceil(len(rows) / config.train_batch_size)
    rounds = config.max_steps or max(round(per_epoch * config.num_train_epochs), 1)
    validator = Validator(context, policy, config.eval_examples)
    seed = context.recipe.seed

    def batch_of(number: int) -> SequenceBatch:
        epoch, at = divmod(number, per_epoch)
        order = epoch_order(len(rows), seed=seed, epoch=epoch)
        chosen = order[at * config.train_batch_size : (at + 1) * config.train_batch_size]
        return collate([rows[i] for i in chosen])

    every = config.eval_steps or max(math.ceil(rounds / 4), 1)
    plan = Plan(
        label="sft",
        folder=folder,
        config=config,
        rounds=rounds,
        batch_of=batch_of,
        parameters=parameters,
        seed=seed,
        budget=context.budget(config),
        validate=validator.metrics,
        eval_steps=every,
        save_steps=config.save_steps or every,
    )
    progress = fit(SFT(), Models(policy=policy), plan, accelerator)
    save_model(trunk, adapter, context.tokenizer, folder / "model")
    context.model = str(folder / "model")
    return progress
