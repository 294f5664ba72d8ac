"""Stage `distill`: learn a teacher's next-token laws on texts of the teacher, of the student, or of the data.

`samples/` in the stage's folder holds the texts that the teacher writes once, and `laws-SOURCE/` what it says of each
token of texts that do not change: its best tokens where `top_k` is set, with `keep_states` the state that its head
makes a law of. A whole law has a number for each token of the vocabulary, 200 kB at 50,000 of them, which is too much
to keep. Without either the teacher reads the texts in every step, without gradient; its logits exist for a few rows at
a time in any case. What is kept is known by the content of teacher and texts.

Where weights are sharded, the student's are, and every process has the teacher whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from homestretch.algorithms.base import Models
from homestretch.algorithms.distill import Distill, ReadBatch, states, taught
from homestretch.batch import SequenceBatch
from homestretch.config.distill import ONLINE, DistillConfig, Source
from homestretch.data.collate import collate
from homestretch.data.samplers import priority_batch
from homestretch.errors import InputError
from homestretch.generation.rollout import replaced, rollout
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.load import end_ids, load_config, load_tokenizer
from homestretch.policies.memory import release
from homestretch.policies.policy import Policy
from homestretch.seeds import fold
from homestretch.training.context import ROLE, Context
from homestretch.training.distances import fixed_distances
from homestretch.training.loop import Progress
from homestretch.training.named_models import lies_below
from homestretch.training.policy_stage import train_policy
from homestretch.training.teacher import batches, stored_laws, stored_texts
from homestretch.training.validation import own_loss
from homestretch.training.vocabulary import shared_vocabulary


def run(context: Context, config: DistillConfig, folder: Path) -> Progress:
    """Train the current model to follow the teacher, keep the best checkpoint, and save its model."""
    check_references(context, config)
    trunk = context.load_trunk(config.teacher_name_or_path, whole=True)
    trunk.requires_grad_(False)
    teacher: Policy | None = context.policy(trunk, None, config)
    learner = context.learner(config, "distill", ROLE)
    vocabulary = shared_vocabulary(context, config, learner.policy, teacher)
    far = (
        None
        if config.oracle_name_or_path is None
        else fixed_distances(context, config, teacher, learner.policy, folder, vocabulary=vocabulary)
    )
    rows = context.tokens(context.splits.train, is_encoder_decoder=learner.trunk.is_encoder_decoder)
    texts = stored_texts(context, config, teacher, rows, folder)
    laws = stored_laws(context, config, teacher, texts, folder, vocabulary=vocabulary)
    held_out = held_out_texts(context, config, teacher, vocabulary)
    if not config.asks_teacher:
        teacher = None
        del trunk
        release()
    algorithm = Distill(config, vocabulary=vocabulary, name_of=lambda token: context.tokenizer.decode([token]))
    models = Models(
        policy=learner.policy.at(config.loss_temperature),
        teacher=teacher and teacher.at(config.loss_temperature),
        sample=sampler(context, config, {"online_teacher": teacher, "online_student": learner.policy}),
    )

    def measure() -> dict[str, float]:
        return own_loss(algorithm, models, learner.policy, held_out) | (far.metrics() if far else {})

    return train_policy(
        context,
        config,
        folder,
        learner,
        algorithm,
        models,
        batch_of=batches(config, texts, laws, seed=context.recipe.seed, source_of=sources_of(context, config)),
        rounds=config.rounds(math.ceil(len(texts["data"]) / config.train_batch_size)),
        keep_start=True,
        measure=measure,
    )


def held_out_texts(context: Context, config: DistillConfig, teacher: Policy, vocabulary: int) -> SequenceBatch | None:
    """The first `eval_examples` references of the validation split with what the teacher says of them; None without."""
    examples = context.splits.validation[: config.eval_examples]
    if not examples:
        return None
    batch = collate(context.tokens(examples, is_encoder_decoder=teacher.trunk.is_encoder_decoder))
    batch = replace(batch, index_B=None)  # a message would take them for training rows
    if config.divergence == "sequence":
        return batch
    if config.top_k:
        return taught(teacher.at(config.loss_temperature), batch, config.top_k, vocabulary)
    return ReadBatch(**vars(batch), teacher_BTD=states(teacher, batch))


def check_references(context: Context, config: DistillConfig, *, own: Path | None = None) -> None:
    """Raise InputError unless teacher and oracle fit, and are two models. No weight is loaded. What lies below the
    folder `own` may still have to be made, and is not looked for."""
    named = {"teacher": config.teacher_name_or_path, "oracle": config.oracle_name_or_path}
    there = {role: m for role, m in named.items() if m is not None and not (own and lies_below(m, own))}
    for role, model in there.items():
        check_teacher(context, model, role=role)
    if len(there) == 2 and len({context.model_key(model) for model in there.values()}) == 1:
        raise InputError(
            f"The oracle `{there['oracle']}` is the teacher itself, so that no student can be nearer to one of them "
            "than to the other: name as the teacher a model that was trained on samples of the oracle."
        )


def check_teacher(context: Context, teacher: str, *, role: str) -> None:
    """Raise InputError unless the teacher's probabilities are of the same tokens, in the same kind of model.

    `role` is what the message calls it.
    """
    ours = context.tokenizer
    theirs = load_tokenizer(teacher, **context.recipe.load_options(teacher))
    here, there = ours.get_vocab(), theirs.get_vocab()
    if here != there:
        token = min((t for t in here.keys() | there.keys() if here.get(t) != there.get(t)), key=str)
        raise InputError(
            f"The {role} `{teacher}` has another vocabulary than the recipe's model ({len(there):,} and {len(here):,} "
            f"tokens; `{token}` has the id {there.get(token)} there and {here.get(token)} here), so that its "
            "probabilities are of other tokens: name one of the same tokenizer, or let it write texts with "
            "`homestretch generate` and put the stage `sft`."
        )
    if ours.eos_token_id != theirs.eos_token_id:
        raise InputError(
            f"The {role} `{teacher}` ends a text with `{theirs.eos_token}` and the recipe's model with "
            f"`{ours.eos_token}`: set the same `eos_token` in both files tokenizer_config.json."
        )
    config = load_config(teacher, **context.recipe.load_options(teacher))
    if bool(config.is_encoder_decoder) != bool(context.config.is_encoder_decoder):
        raise InputError(
            f"Of the {role} `{teacher}` and the recipe's model one has an encoder and the other has none, so that "
            "they do not read prompts alike: name one of the same kind."
        )


def sources_of(context: Context, config: DistillConfig) -> Callable[[int, int], list[Source]]:
    """Where each of so many texts of a round comes from, by the number of the round."""
    names, shares, seed = list(config.source), list(config.source.values()), fold("source", context.recipe.seed)

    def drawn(number: int, count: int) -> list[Source]:
        return [names[i] for i in priority_batch(shares, count, seed=seed, number=number)]

    return drawn


def sampler(
    context: Context, config: DistillConfig, writers: dict[Source, Policy | None]
) -> Callable[[SequenceBatch, int], SequenceBatch]:
    """Puts new texts where the batch of a round has places for those of teacher or student; the round's number seeds
    them."""
    sampling = SamplingConfig(max_new_tokens=context.recipe.dataset.max_completion_length)
    source_of = sources_of(context, config)

    def sample(batch: SequenceBatch, number: int) -> SequenceBatch:
        sources = source_of(number, len(batch))
        for name in ONLINE:
            rows, writer = torch.tensor([i for i, source in enumerate(sources) if source == name]), writers[name]
            if len(rows) and writer is not None:
                drawn = rollout(
                    writer.at(config.temperature),  # the policy itself is at the temperature, so sampling is plain
                    batch.rows(rows),
                    eos_ids=end_ids(writer.trunk.lm, context.tokenizer),
                    sampling=sampling,
                    seed=fold(name, context.recipe.seed, number),
                )
                batch = replaced(batch, rows, drawn)
        return batch

    return sample
