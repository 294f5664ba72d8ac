"""What every stage has in common that trains the policy on pairs of a better and a worse response."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from homestretch.algorithms.base import Algorithm, Models
from homestretch.batch import PairBatch
from homestretch.config.objectives import ObjectivesConfig
from homestretch.config.stages import kind_of
from homestretch.data.collate import collate_pairs
from homestretch.data.records import Example
from homestretch.data.samplers import epoch_batches
from homestretch.data.tokenize import TokenizedPair
from homestretch.errors import DataError
from homestretch.progress import say
from homestretch.results import StageFolder
from homestretch.training.context import ROLE, Context
from homestretch.training.loop import Progress
from homestretch.training.policy_stage import train_policy
from homestretch.training.reference_logps import reference_logps
from homestretch.training.stages.negatives import FILE, HELD_OUT
from homestretch.training.stages.reward import read_pairs, rows_of
from homestretch.training.validation import own_loss


@dataclass(frozen=True)
class Pairs:
    """N pairs as rows and as token ids, with the reference's log-probabilities of whole responses (N,)."""

    examples: list[Example]
    rows: list[TokenizedPair]
    logp_ref_chosen_N: Tensor
    logp_ref_rejected_N: Tensor


def train_on_pairs(
    context: Context,
    config: ObjectivesConfig,
    folder: Path,
    algorithm: Algorithm,
    *,
    known: Callable[[Pairs], dict[str, Tensor]] = lambda pairs: {},
) -> Progress:
    """Train the current model on pairs, keep the best checkpoint, and save its model.

    `known` gives what else is constant about the pairs, N rows for each field of their batches (see PairBatch). Raises
    DataError where no pair differs within the recipe's lengths.
    """
    stage = StageFolder(folder).name
    trained = tokenized(context, pairs_of(context, config, stage))
    if not trained:
        raise DataError(
            "Once cut, every pair has the same text on both sides: raise dataset.max_completion_length, or give pairs "
            "that differ in their first tokens."
        )
    both = trained + tokenized(context, held_out_of(context, config, trained[0][0]))
    if len(both) == len(trained) and config.metric_for_best_model == "loss":
        say(
            f"{stage}: no pair of the validation split is left to choose a checkpoint by its loss, and the "
            "last one is kept; set metric_for_best_model to another metric to choose by that."
        )
        config = config.model_copy(update={"metric_for_best_model": "none"})
    examples, rows = [example for example, _ in both], [row for _, row in both]
    # `modpo` of weight 1 is `dpo`, new weights included.
    learner = context.learner(config, kind_of(config), ROLE, drawn_for="dpo")
    # The trunk is still as it was loaded: its adapter is off, or in full fine-tuning nothing has been trained yet.
    reference = context.policy(learner.trunk, None, config)
    sides = [row.chosen for row in rows] + [row.rejected for row in rows]
    logps = reference_logps(context, config, reference, sides, folder / "reference")
    chosen_N, rejected_N = torch.stack([logp.sum() for logp in logps]).chunk(2)
    constant = {"logp_ref_chosen_B": chosen_N, "logp_ref_rejected_B": rejected_N}
    constant |= known(Pairs(examples, rows, chosen_N, rejected_N))
    size, prompts = config.train_batch_size, [tuple(row.chosen.prompt_ids) for _, row in trained]
    passes = epoch_batches(prompts, size, seed=context.recipe.seed)

    def batch_of(number: int) -> PairBatch:
        return paired(rows, constant, passes(number))

    others = range(len(trained), len(rows))
    held_out = paired(rows, constant, list(others)) if others else None
    models = Models(policy=learner.policy)
    return train_policy(
        context,
        config,
        folder,
        learner,
        algorithm,
        models,
        batch_of=batch_of,
        rounds=config.rounds(math.ceil(len(trained) / size)),
        keep_start=True,
        measure=lambda: own_loss(algorithm, models, learner.policy, held_out),
    )


def tokenized(context: Context, pairs: list[Example]) -> list[tuple[Example, TokenizedPair]]:
    """Pairs with their tokens, but for those that are cut to the same start on both sides: two responses are one."""
    rows = context.pair_tokens(
        pairs,
        is_encoder_decoder=bool(context.config.is_encoder_decoder),
        truncate=context.recipe.dataset.truncate,
    )
    both = zip(pairs, rows, strict=True)
    return [(pair, row) for pair, row in both if row.chosen.completion_ids != row.rejected.completion_ids]


def pairs_of(context: Context, config: ObjectivesConfig, stage: str) -> list[Example]:
    """The data's own pairs, or else the run's negatives, of the chosen failure modes. Raises DataError for none."""
    examples = context.splits.train
    pairs = examples
    if any("rejected" not in e.columns for e in examples):
        pairs = read_pairs(context.folders["negatives"] / FILE)
    kept = of_modes(known_of(pairs, examples), config)
    if not kept:
        there = sorted({str(e.columns.get("failure_mode")) for e in pairs})
        raise DataError(
            f"No pair has one of {stage}.failure_modes {config.failure_modes}; there are {', '.join(there)}."
        )
    return kept


def held_out_of(context: Context, config: ObjectivesConfig, trained: Example) -> list[Example]:
    """At most `eval_examples` pairs of the validation split: its own, or else those that the run has made, as far as
    they have what objectives may ask of a pair that is trained on."""
    examples = context.splits.validation
    pairs = examples
    if any("rejected" not in e.columns for e in examples):
        pairs = rows_of(context.folders["negatives"] / HELD_OUT) if "negatives" in context.folders else []
    terms = config.rewards.values()
    read = trained.columns.keys() if any(term.function or term.column for term in terms) else ()
    there = [e for e in of_modes(known_of(pairs, examples), config) if e.columns.keys() >= set(read)]
    return there[: config.eval_examples]


def known_of(pairs: Sequence[Example], examples: Sequence[Example]) -> list[Example]:
    """Pairs with all that is known of the rows that they were made of, so that a reward is told of a response what it
    is told of samples: columns, references and what it is about.

    The better response of a pair of the data is no reference, or it would be evidence for itself.
    """
    rows = {e.id: e for e in examples}

    def known(pair: Example) -> Example:
        row = rows[pair.id]
        references = row.references[1:] if "rejected" in row.columns else row.references
        return replace(pair, references=references, source=row.source, columns=row.columns | pair.columns)

    return [known(pair) for pair in pairs]


def of_modes(pairs: list[Example], config: ObjectivesConfig) -> list[Example]:
    """Those of the chosen failure modes."""
    modes = config.failure_modes
    return pairs if modes is None else [e for e in pairs if e.columns.get("failure_mode") in modes]


def paired(rows: Sequence[TokenizedPair], constant: dict[str, Tensor], chosen: list[int]) -> PairBatch:
    """The batch of some rows, with what is constant about them by field name."""
    return replace(
        collate_pairs([rows[i] for i in chosen]), **{name: values_N[chosen] for name, values_N in constant.items()}
    )
