"""A teacher's texts and next-token laws that do not change while a student learns: computed once, kept, and batched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from homestretch.algorithms.distill import ReadBatch, TaughtBatch, states, taught
from homestretch.batch import SequenceBatch
from homestretch.config.distill import DistillConfig, Source
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_batches
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import InputError
from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import counted
from homestretch.policies.load import end_ids
from homestretch.policies.policy import Policy
from homestretch.progress import progress, say
from homestretch.rewards.cache import content_key
from homestretch.seeds import fold
from homestretch.training.context import Context
from homestretch.training.precomputed import once

Texts = Mapping[Source, list[TokenizedExample]]
Law = dict[str, Tensor]
"""What the teacher says of each token of one text, as columns of a batch without B: those of `TaughtBatch` with
`top_k`, else the state of `ReadBatch`, of which its head makes a law."""
LAW, STATE = ("teacher_BTK", "logp_teacher_BTK", "logp_others_BT"), ("teacher_BTD",)
ROWS = 64
"""Texts whose laws are computed before they leave the device."""


def stored_texts(
    context: Context, config: DistillConfig, teacher: Policy, rows: Sequence[TokenizedExample], folder: Path
) -> dict[Source, list[TokenizedExample]]:
    """Texts that do not change, by source: `num_generations` of each prompt, side by side. The data's own are always
    there, for their prompts. Raises InputError where the teacher writes nothing."""
    texts: dict[Source, list[TokenizedExample]] = {"data": [row for row in rows for _ in range(config.num_generations)]}
    if "offline" in config.source:
        texts["offline"] = offline_texts(context, config, teacher, rows, folder / "samples")
    return texts


def offline_texts(
    context: Context, config: DistillConfig, teacher: Policy, rows: Sequence[TokenizedExample], folder: Path
) -> list[TokenizedExample]:
    """What the teacher writes to each prompt, `num_generations` times; drawn once, from the recipe's seed.

    Raises InputError where all of it is empty.
    """
    prompts, most = [row.prompt_ids for row in rows], context.recipe.dataset.max_completion_length
    how = config.num_generations, config.temperature, most, context.recipe.seed
    key = content_key(context.model_key(config.teacher_name_or_path), *context.arithmetic(config), how, prompts)

    def draw() -> dict[str, Tensor]:
        with progress(len(prompts) * config.num_generations, "texts of the teacher", "text") as bar:
            made = generate(
                teacher.at(config.temperature),
                prompts,
                eos_ids=end_ids(teacher.trunk.lm, context.tokenizer),
                sampling=SamplingConfig(max_new_tokens=most),
                seed=fold("offline", context.recipe.seed),
                num_samples=config.num_generations,
                on_done=counted(bar.advance),
            )
        samples = [sample for group in made for sample in group]
        return {
            "ids": torch.tensor([token for sample in samples for token in sample.ids], dtype=torch.int32),
            "length": torch.tensor([len(sample.ids) for sample in samples]),
            "terminated": torch.tensor([sample.terminated for sample in samples]),
        }

    found = once(folder, draw, key=key, others=context.others)
    length, ended = found["length"].float(), found["terminated"].float()
    empty = float(((length <= 1) & (ended > 0)).float().mean())
    if empty == 1:
        raise InputError(
            f"All texts of the teacher `{config.teacher_name_or_path}` are empty, so that nothing can be learnt from "
            "it: take one that knows prompts like these, or set dataset.prompt_suffix to show where an answer begins."
        )
    say(
        f"distill: the teacher's {len(length):,} texts have {float(length.mean()):.1f} tokens on average; "
        f"{float(1 - ended.mean()):.0%} of them do not end, and {empty:.0%} are empty."
    )
    texts = zip(found["ids"].split(found["length"].tolist()), found["terminated"].tolist(), strict=True)
    prompted = (row for row in rows for _ in range(config.num_generations))
    return [
        replace(row, completion_ids=ids.tolist(), terminated=terminated)
        for row, (ids, terminated) in zip(prompted, texts, strict=True)
    ]


def stored_laws(
    context: Context, config: DistillConfig, teacher: Policy, texts: Texts, folder: Path, *, vocabulary: int
) -> dict[Source, list[Law]]:
    """What the teacher says of each text that is learnt from, by source; nothing where it is not kept."""
    if not config.keeps_laws:
        return {}
    return {
        name: _laws(context, config, teacher, texts[name], folder / f"laws-{name}", vocabulary)
        for name in config.source
    }


def _laws(
    context: Context,
    config: DistillConfig,
    teacher: Policy,
    texts: Sequence[TokenizedExample],
    folder: Path,
    vocabulary: int,
) -> list[Law]:
    how = (config.top_k, config.loss_temperature, vocabulary) if config.top_k else ("states",)
    names = LAW if config.top_k else STATE
    asked = [(text.prompt_ids, text.completion_ids) for text in texts]
    key = content_key(context.model_key(config.teacher_name_or_path), *context.arithmetic(config), how, asked)

    def said(batch: SequenceBatch) -> Law:
        if not config.top_k:
            return {"teacher_BTD": states(teacher, batch)}
        found = taught(teacher.at(config.loss_temperature), batch, config.top_k, vocabulary)
        return {name: getattr(found, name) for name in LAW} | {"teacher_BTK": found.teacher_BTK.int()}

    def ask() -> Law:
        parts: list[Law] = []
        with progress(len(texts), "laws of the teacher", "text") as bar:
            for at in range(0, len(texts), ROWS):
                batch = collate(texts[at : at + ROWS])
                parts.append({name: column.cpu()[batch.mask_BT.bool()] for name, column in said(batch).items()})
                bar.advance(len(batch))
        return {name: torch.cat([part[name] for part in parts]) for name in names}

    found = once(folder, ask, key=key, others=context.others)
    lengths = [len(text.completion_ids) for text in texts]
    split = {name: found[name].split(lengths) for name in names}
    return [{name: split[name][i] for name in names} for i in range(len(texts))]


def batches(
    config: DistillConfig,
    texts: Texts,
    laws: Mapping[Source, list[Law]],
    *,
    seed: int,
    source_of: Callable[[int, int], list[Source]],
) -> Callable[[int], SequenceBatch]:
    """The batch of a round: passes over the prompts with all their texts, those of a prompt side by side, each text
    from the source that `source_of(round, count)` says. One that is yet to be written has the data's own in its
    place."""
    prompts = [i // config.num_generations for i in range(len(texts["data"]))]
    passes = epoch_batches(prompts, config.train_batch_size, seed=seed)

    def batch_of(number: int) -> SequenceBatch:
        chosen = passes(number)
        places = list(zip(source_of(number, len(chosen)), chosen, strict=True))
        batch = collate([texts.get(source, texts["data"])[i] for source, i in places])
        if not laws:
            return batch
        known = padded([laws[source][i] for source, i in places], batch.ids_BT.shape[1])
        return (TaughtBatch if "teacher_BTK" in known else ReadBatch)(**vars(batch), **known)

    return batch_of


def padded(laws: Sequence[Law], width: int) -> dict[str, Tensor]:
    """Laws of texts as columns of a batch, 0 behind each."""

    def column(name: str) -> Tensor:
        rows = [law[name].long() if name == "teacher_BTK" else law[name] for law in laws]
        return torch.stack([pad(row, (0, 0) * (row.dim() - 1) + (0, width - len(row))) for row in rows])

    return {name: column(name) for name in laws[0]}
