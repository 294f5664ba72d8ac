"""Stage `negatives`: typed failure modes of the training pairs, made by rules and mined from the current model.

A row that comes with a worse response (`rejected`) keeps it, and none is made of it. What is right in any row of a
prompt is no failure of that prompt. Pairs that train a reward model and pairs that measure it are made apart: borrowed
text is then known from one of them alone.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from homestretch import ranks
from homestretch.config.negatives import NegativesConfig
from homestretch.data.records import Example, prompt_key, with_all_references
from homestretch.data.samplers import epoch_order
from homestretch.data.tokenize import UNNAMED
from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import counted
from homestretch.negatives import MINED, Corpus, Negative, Sample, Thresholds, corruptions, mine
from homestretch.negatives.audit import audit
from homestretch.negatives.mix import make_negatives
from homestretch.negatives.phrases import word_count
from homestretch.policies.load import end_ids
from homestretch.progress import progress
from homestretch.seeds import fold
from homestretch.training.context import Context
from homestretch.writing import write_rows, write_text

FILE, HELD_OUT, AUDIT = "negatives.jsonl", "validation.jsonl", "audit.json"
MEASURES = "held_out_prompt"
"""Column that is true in rows whose prompt only measures a reward model."""
MOST_HELD_OUT = 512
"""Rows of the validation split of which pairs are made: more than a held-out loss needs."""


def run(context: Context, config: NegativesConfig, folder: Path) -> None:
    """Write preference rows (`negatives.jsonl`) and what simple readers would make of them (`audit.json`); those of
    the validation split's first rows, none of them mined, are `validation.jsonl`."""
    seed = fold("negatives", context.recipe.seed, config.seed)
    bare = [e for e in with_all_references(context.splits.train) if "rejected" not in e.columns]
    kept = mined_samples(context, config, bare, seed) if MINED in config.classes and bare else None
    if ranks.is_first():
        with ranks.alone():
            write_negatives(context, config, folder, kept, seed)


def write_negatives(
    context: Context, config: NegativesConfig, folder: Path, kept: dict[str, list[Negative]] | None, seed: int
) -> None:
    """All files; `kept` are negatives that were mined, by the id of their example."""
    examples = with_all_references(context.splits.train)

    def length(text: str) -> int:
        return len(context.tokenizer(text, add_special_tokens=False).input_ids)

    how = {
        "vocabulary": random_text(context),
        "tokens_per_word": tokens_per_word(context, examples),
        "max_words": config.max_words,
    }
    longest = context.recipe.dataset.max_completion_length - 1  # an end mark is a token

    def pairs(some: Sequence[Example], mined: dict[str, list[Negative]] | None) -> list[dict[str, Any]]:
        if not some:
            return []
        made = make_negatives(
            [e for e in some if "rejected" not in e.columns],
            corruptions(config.classes, Corpus(some, **how), kept=mined),
            classes_per_example=config.classes_per_example,
            weights=config.weights,
            seed=seed,
            length=length,
            longest=longest,
        )
        return given_pairs(some) + made

    learned, measured = sides(examples, config, seed=context.recipe.seed)
    rows = pairs(learned, kept) + [{**row, MEASURES: True} for row in pairs(measured, kept)]
    found = audit(rows, length=length)
    classes = [dataclasses.asdict(c) for c in found.classes]
    summary = {"held_out": config.held_out, "verdict": found.verdict(), "classes": classes}
    write_text(folder / AUDIT, json.dumps(summary, indent=1))
    validation = with_all_references(context.splits.validation)[:MOST_HELD_OUT]
    # An id of the validation split may be one of the training split too, and what was mined is that one's.
    write_rows(folder / HELD_OUT, pairs(validation, None))
    write_rows(folder / FILE, rows)


def sides(examples: Sequence[Example], config: NegativesConfig, *, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples whose pairs train a reward model, none where there is one prompt, and those whose pairs measure it.

    Disjoint by prompt: a user's pairs may share one.
    """
    first: dict[str, str] = {}  # id of the first row of each prompt
    for e in examples:
        first.setdefault(prompt_key(e), e.id)
    ids = sorted(set(first.values()), key=lambda i: fold("reward_split", seed, i))
    held = set(ids[: min(max(round(len(ids) * config.held_out_fraction), 1), config.max_held_out)])
    learned = [e for e in examples if first[prompt_key(e)] not in held]
    return learned, [e for e in examples if first[prompt_key(e)] in held]


def given_pairs(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Preference rows that the data have; a worse response of no named failure mode is called `rejected`."""
    named = ("rejected", "failure_mode", "rejected_terminated", "margin")
    return [
        {
            "prompt": e.prompt,
            "chosen": e.completion,
            "failure_mode": UNNAMED,
            **{name: e.columns[name] for name in named if name in e.columns},
            "id": e.id,
        }
        for e in examples
        if "rejected" in e.columns
    ]


def random_text(context: Context) -> Callable[[random.Random, int], str]:
    """Text of n tokens that are uniform over the vocabulary without specials."""
    tokenizer = context.tokenizer
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]

    def draw(rng: random.Random, n: int) -> str:
        return tokenizer.decode(rng.choices(ids, k=n)).strip() or " ".join(["?"] * n)

    return draw


def tokens_per_word(context: Context, examples: list[Example]) -> float:
    """Mean tokens of a reference's word, as the lengths of negatives count words."""
    texts = [e.references[0] for e in examples[:500]]
    tokens = sum(len(ids) for ids in context.tokenizer(texts, add_special_tokens=False).input_ids)
    return tokens / max(sum(word_count(t) for t in texts), 1)


def mined_samples(
    context: Context, config: NegativesConfig, examples: list[Example], seed: int
) -> dict[str, list[Negative]]:
    """The current model's own bad answers to training prompts: greedy, and sampled at a temperature."""
    order = epoch_order(len(examples), seed=seed, epoch=0)[: config.mined.max_prompts]
    chosen = [examples[i] for i in sorted(order)]
    trunk = context.load_trunk()
    policy = context.policy(trunk, None)
    tokens = context.tokens(chosen, is_encoder_decoder=trunk.is_encoder_decoder)
    longest = context.recipe.dataset.max_completion_length
    ways = [(0.0, 1), (config.mined.temperature, config.mined.num_samples)]
    samples: dict[str, list[Sample]] = {e.id: [] for e in chosen}
    for temperature, count in ways:
        if count == 0:
            continue
        with progress(len(chosen) * count, f"mining at temperature {temperature:g}", "sample") as bar:
            made = generate(
                policy,
                [row.prompt_ids for row in tokens],
                eos_ids=end_ids(trunk.lm, context.tokenizer),
                sampling=SamplingConfig(temperature=temperature, max_new_tokens=longest),
                seed=fold("mine", seed),
                num_samples=count,
                on_done=counted(bar.advance),
            )
        for example, group in zip(chosen, made, strict=True):
            for sample in group:
                text = context.tokenizer.decode(sample.ids, skip_special_tokens=True)
                samples[example.id].append(Sample(text, sample.terminated))
    limits = config.mined
    names = [f.name for f in dataclasses.fields(Thresholds)]
    thresholds = Thresholds(**{name: getattr(limits, name) for name in names})
    return mine(chosen, samples, thresholds=thresholds, per_example=limits.per_example, seed=seed)
