"""`mined`: the fine-tuned model's own bad answers, by rules that show that they are bad  (sheet 2.2)

A sample on a training document is kept if one of these holds, tried in this order, which names its variant:

    unended      no end marker before the limit
    repeating    share of repeated word 4-grams above 0.3 (of characters, where a script has no spaces)
    length       words of the sample over words of the reference outside [0.5, 2]
    low_overlap  ROUGE-L F among the lowest 20 % of all samples, and below 0.3

and never if ROUGE-L F is 0.5 or more.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from homestretch.data.records import Example
from homestretch.metrics.diversity import repeated_share
from homestretch.metrics.sentences import counted_words
from homestretch.negatives.base import Corruption, Negative, guarded, overlap, reference_of
from homestretch.negatives.phrases import word_count
from homestretch.seeds import fold


class Sample(NamedTuple):
    """An answer of the model, and whether it ended in an end marker."""

    text: str
    terminated: bool


@dataclass(frozen=True)
class Thresholds:
    """When a sample is bad. Origin of every value: sheet 2.2."""

    repeated: float = 0.3
    shortest: float = 0.5
    longest: float = 2.0
    quantile: float = 0.2
    low: float = 0.3
    good: float = 0.5


def mine(
    examples: Iterable[Example],
    samples: Mapping[str, Sequence[Sample]],
    *,
    thresholds: Thresholds | None = None,
    per_example: int = 1,
    seed: int = 0,
) -> dict[str, list[Negative]]:
    """The bad samples of each example, by its id, at most `per_example`; which ones is decided by the seed.

    Empty samples are left out: nothing can be learnt from them but that they are empty. `examples` are judged by their
    own references: give those of all rows of a prompt (`data.records.with_all_references`).
    """
    limits = thresholds or Thresholds()
    judged = [(e, s, overlap(s.text, e, "rougeL")) for e in examples for s in samples.get(e.id, ()) if s.text.strip()]
    scores = sorted(f for _, _, f in judged)
    floor = scores[math.ceil(limits.quantile * len(scores)) - 1] if scores else 0.0
    kept: dict[str, list[Negative]] = {}
    for example, sample, f in judged:
        variant = fault(sample, example, f, floor=floor, thresholds=limits)
        negative = Negative(sample.text.strip(), "mined", sample.terminated, variant)
        if variant and negative not in kept.setdefault(example.id, []):
            kept[example.id].append(negative)
    return {i: sorted(found, key=lambda n: fold(seed, i, n.text))[:per_example] for i, found in kept.items() if found}


def fault(sample: Sample, example: Example, rouge_l: float, *, floor: float, thresholds: Thresholds) -> str:
    """The first rule that shows the sample to be bad, or the empty text. `floor`: lowest quantile of ROUGE-L."""
    if rouge_l >= thresholds.good:
        return ""
    ratio = word_count(sample.text) / max(1, word_count(reference_of(example)))
    rules = {
        "unended": not sample.terminated,
        "repeating": repeated_share(counted_words(sample.text)) > thresholds.repeated,
        "length": not thresholds.shortest <= ratio <= thresholds.longest,
        "low_overlap": rouge_l <= floor and rouge_l < thresholds.low,
    }
    return next((name for name, broken in rules.items() if broken), "")


def mined(kept: Mapping[str, Sequence[Negative]]) -> Corruption:
    """One of the model's own bad answers to this example, where it gave one."""

    def draw(example: Example, rng: random.Random) -> Negative | None:
        found = kept.get(example.id)
        return rng.choice(found) if found else None

    return guarded(draw)
