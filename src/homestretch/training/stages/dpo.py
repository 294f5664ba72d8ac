"""Stage `dpo`: learn from pairs of a better and a worse response, those of the data or the run's negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from homestretch.algorithms.base import Models
from homestretch.algorithms.dpo import DPO
from homestretch.batch import PairBatch
from homestretch.config.dpo import DPOConfig
from homestretch.data.collate import collate_pairs
from homestretch.data.records import Example
from homestretch.data.samplers import epoch_batch
from homestretch.data.tokenize import TokenizedPair
from homestretch.errors import DataError
from homestretch.training.context import ROLE, Context
from homestretch.training.loop import Progress
from homestretch.training.policy_stage import train_policy
from homestretch.training.reference_logps import reference_logps
from homestretch.training.stages.negatives import FILE
from homestretch.training.stages.reward import read_pairs


def run(context: Context, config: DPOConfig, folder: Path) -> Progress:
    """Train the current model on pairs, keep the best checkpoint, and save its model."""
    examples = pairs_of(context, config)
    rows = context.pair_tokens(
        examples,
        is_encoder_decoder=bool(context.config.is_encoder_decoder),
        truncate=context.recipe.dataset.truncate,
    )
    rows = [row for row in rows if row.chosen.completion_ids != row.rejected.completion_ids]  # cut to the same start
    if not rows:
        raise DataError(
            "Once cut, every pair has the same text on both sides: raise dataset.max_completion_length, or give pairs "
            "that differ in their first tokens."
        )
    learner = context.learner(config, "dpo", ROLE)
    # The trunk is still as it was loaded: its adapter is off, or in full fine-tuning nothing has been trained yet.
    reference = context.policy(learner.trunk, None, config)
    sides = [row.chosen for row in rows] + [row.rejected for row in rows]
    logps = reference_logps(reference, sides, folder / "reference")
    chosen_N, rejected_N = torch.stack([logp.sum() for logp in logps]).chunk(2)
    seed, size, prompts = context.recipe.seed, config.train_batch_size, [tuple(row.chosen.prompt_ids) for row in rows]

    def batch_of(number: int) -> PairBatch:
        return paired(rows, chosen_N, rejected_N, epoch_batch(prompts, size, seed=seed, number=number))

    rounds = config.rounds(math.ceil(len(rows) / size))
    models = Models(policy=learner.policy)
    return train_policy(
        context, config, folder, learner, DPO(config), models, batch_of=batch_of, rounds=rounds, keep_start=True
    )


def pairs_of(context: Context, config: DPOConfig) -> list[Example]:
    """The data's own pairs, or else the run's negatives, of the chosen failure modes. Raises DataError for none."""
    examples = context.splits.train
    if any("rejected" not in e.columns for e in examples):
        examples = read_pairs(context.folders["negatives"] / FILE)
    if config.failure_modes is None:
        return examples
    kept = [e for e in examples if e.columns.get("failure_mode") in config.failure_modes]
    if not kept:
        there = sorted({str(e.columns.get("failure_mode")) for e in examples})
        raise DataError(f"No pair has one of dpo.failure_modes {config.failure_modes}; there are {', '.join(there)}.")
    return kept


def paired(rows: Sequence[TokenizedPair], chosen_N: Tensor, rejected_N: Tensor, chosen: list[int]) -> PairBatch:
    """The batch of some rows, with the reference's log-probabilities of both sides."""
    batch = collate_pairs([rows[i] for i in chosen])
    return replace(batch, logp_ref_chosen_B=chosen_N[chosen], logp_ref_rejected_B=rejected_N[chosen])
