"""Stage `alol`: learn stored responses by what they earn beyond the current model's expectation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from homestretch.algorithms.alol import ALOL
from homestretch.algorithms.base import Models
from homestretch.batch import AdvantageBatch
from homestretch.config.alol import ALOLConfig
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_batches, priority_batch
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import DataError
from homestretch.training import checkpoint
from homestretch.training.context import ROLE, Context
from homestretch.training.loop import Progress
from homestretch.training.policy_stage import train_policy
from homestretch.training.reference_logps import padded, reference_logps
from homestretch.training.stages.value import ADVANTAGES
from homestretch.training.stored_rewards import refuse_negative, stored_rewards


def run(context: Context, config: ALOLConfig, folder: Path) -> Progress:
    """Train the current model on rows that beat its expectation, keep the best checkpoint, and save its model."""
    examples = context.splits.train
    rows = context.tokens(examples, is_encoder_decoder=bool(context.config.is_encoder_decoder))
    if config.variant == "r_lol":
        reward_N = credit_N = stored_rewards(context, examples, rows, folder / "rewards", config.rewards)
        refuse_negative(reward_N, examples, "r_lol")
        kept = list(range(len(rows)))
    else:
        found = checkpoint.load(context.folders["value"] / ADVANTAGES)[0]
        reward_N, credit_N = found["reward"], found["adv"]
        kept = beaten(credit_N) if config.sampling != "uniform" else list(range(len(rows)))
    rows = [replace(rows[i], reward=float(reward_N[i])) for i in kept]
    learner = context.learner(config, "alol", ROLE)
    algorithm, logps = ALOL(config), None
    if "reference" in algorithm.needs:
        # The trunk is still as it was loaded: its adapter is off, or in full fine-tuning nothing has been trained yet.
        reference = context.policy(learner.trunk, None, config)
        logps = reference_logps(context, config, reference, rows, folder / "reference")
    return train_policy(
        context,
        config,
        folder,
        learner,
        algorithm,
        Models(policy=learner.policy),
        batch_of=batches(rows, credit_N[kept], logps, config, seed=context.recipe.seed),
        rounds=config.rounds(math.ceil(len(rows) / config.train_batch_size)),
        keep_start=True,
    )


def beaten(adv_N: Tensor) -> list[int]:
    """Rows with an advantage above 0. Raises DataError where there is none."""
    kept = (adv_N > 0).nonzero().flatten().tolist()
    if not kept:
        raise DataError(
            f"None of {len(adv_N)} stored responses earns more than the model is expected to (the best advantage is "
            f"{float(adv_N.max()):.3g}): there is nothing to learn from; use better responses, or `alol.variant=r_lol`."
        )
    return kept


def batches(
    rows: list[TokenizedExample], credit_N: Tensor, logps: list[Tensor] | None, config: ALOLConfig, *, seed: int
) -> Callable[[int], AdvantageBatch]:
    """The batch of a round: rows drawn as `sampling` says, with what is constant about them."""
    size, weights = config.train_batch_size, credit_N.clamp(min=0).tolist()
    passes = epoch_batches(range(len(rows)), size, seed=seed)

    def batch_of(number: int) -> AdvantageBatch:
        if config.sampling == "priority":
            chosen = priority_batch(weights, size, seed=seed, number=number)
        else:
            chosen = passes(number)
        batch = AdvantageBatch(**vars(collate([rows[i] for i in chosen])), adv_B=credit_N[chosen])
        if logps is None:
            return batch
        return replace(batch, logp_ref_BT=padded([logps[i] for i in chosen], batch.ids_BT.shape[1]))

    return batch_of
