"""What every stage has in common that trains the policy: a plan, validation by generation, and a saved model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from homestretch.algorithms.base import Algorithm, Models
from homestretch.batch import Batch, SequenceBatch
from homestretch.config.training import TrainingConfig
from homestretch.results import StageFolder
from homestretch.training.context import Context, Learner
from homestretch.training.doctor import watcher
from homestretch.training.export import save_model
from homestretch.training.loop import Plan, Progress, fit
from homestretch.training.validation import Validator


def train_policy(
    context: Context,
    config: TrainingConfig,
    folder: Path,
    learner: Learner,
    algorithm: Algorithm,
    models: Models,
    *,
    batch_of: Callable[[int], Batch],
    rounds: int,
    head: str | None = None,
    beside: str | None = None,
    keep_start: bool = False,
    measure: Callable[[], dict[str, float]] | None = None,
    rewarded: Callable[[SequenceBatch], Tensor] | None = None,
) -> Progress:
    """Train the learner's adapter or weights, keep the best checkpoint, and save its model in `folder/model`.

    `batch_of` gives the batch of a round as a function of its number alone. A `head` of that name is trained too, and
    so is an adapter `beside` the learner's. With `keep_start` the model as it was is one of the checkpoints.
    `measure` adds metrics of its own to those of a validation, and `rewarded` the mean of what its outputs earn. The
    run doctor watches.
    """
    validator = Validator(context, learner.policy, config.eval_examples, rewarded=rewarded)
    plan = Plan(
        label=StageFolder(folder).name,
        folder=folder,
        config=config,
        rounds=rounds,
        batch_of=batch_of,
        parameters=learner.parameters(head, beside=beside),
        seed=context.recipe.seed,
        budget=context.budget(config),
        validate=lambda number: validator.metrics(number) | (measure() if measure else {}),
        keep_start=keep_start,
        watch=watcher(config),
    )
    progress = fit(algorithm, models, plan, learner.accelerator)
    save_model(learner.trunk, learner.adapter, context.tokenizer, folder / "model")
    return progress
