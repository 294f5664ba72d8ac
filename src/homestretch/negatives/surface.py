"""Failures of form: `random`, `shuffled`, `repetitive`, `run_on`  (sheet 2.2)

Deviations  `shuffled` keeps the first capital and the final punctuation in place, and `repetitive` also comes in short
            versions, as a loop entered after a good start as well: a reward model should see the disorder and the
            loop, not a stray full stop or a length.
            `run_on` (i) is not cut before a connector, where a text without its final stop can be whole;
            (ii) goes on to a length between 1.2 times the reference's and the limit, not always to the limit.
"""

from __future__ import annotations

import random

from homestretch.data.records import Example
from homestretch.metrics.sentences import is_finished
from homestretch.negatives.base import Corruption, Negative, guarded, reference_of
from homestretch.negatives.corpus import Corpus
from homestretch.negatives.phrases import bare, dressed, join, starts_phrase, surviving_bigrams, units

MAX_SURVIVING = 0.5
MIN_SHUFFLED = 4
LONG_LOOP, SHORT_LOOP = (1.5, 4.0), (0.6, 1.0)
GRAM = (2, 6)
CUT = (0.3, 0.8)
MIN_LOST = 2
RUN_ON = 1.2


def random_tokens(corpus: Corpus) -> Corruption:
    """Tokens drawn uniformly from the vocabulary; the length is that of a random reference."""

    def draw(_example: Example, rng: random.Random) -> Negative:
        return Negative(corpus.random_text(rng, rng.choice(corpus.lengths)).strip(), "random")

    return guarded(draw)


def shuffled(corpus: Corpus) -> Corruption:
    """The reference's words in random order; of four or more, with at most half of their neighbours kept."""

    def draw(example: Example, rng: random.Random) -> Negative | None:
        reference = reference_of(example)
        before: list[str] = list(units(bare(reference)))
        if len(before) < MIN_SHUFFLED:
            return None
        if before[0].lower() in corpus.lower:
            before[0] = before[0].lower()
        after = rng.sample(before, len(before))
        if surviving_bigrams(before, after) > MAX_SURVIVING:
            return None
        return Negative(dressed(join(after), reference), "shuffled")

    return guarded(draw)


def repetitive(corpus: Corpus) -> Corruption:
    """One word, a few words, or the whole reference, over and over; `loop` starts well and then falls into it."""

    def draw(example: Example, rng: random.Random) -> Negative | None:
        parts = units(reference_of(example))
        long = rng.random() < 0.5
        wanted = min(round(len(parts) * rng.uniform(*(LONG_LOOP if long else SHORT_LOOP))), corpus.max_words)
        variant = rng.choice(("word", "phrase", "loop", "reference") if long else ("word", "phrase", "loop"))
        lead, gram = _loop(parts, wanted, variant, rng)
        room = wanted - len(lead)
        if not gram or room < max(2 * len(gram), 3):
            return None
        looped = [*lead, *(gram * (room // len(gram) + 1))[:room]]
        return Negative(join(looped), "repetitive", variant=variant)

    return guarded(draw)


def _loop(
    parts: tuple[str, ...], wanted: int, variant: str, rng: random.Random
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Units before the loop, and the units that it repeats; the latter empty where the reference has none to offer."""
    if variant == "reference":
        return (), parts if wanted >= 1.5 * len(parts) else ()
    core = units(bare(join(parts))) if len(parts) > 1 else parts
    size = 1 if variant == "word" else rng.randint(GRAM[0], max(GRAM[0], min(GRAM[1], len(core), wanted // 2)))
    if size > len(core):
        return (), ()
    start = rng.randrange(len(core) - size + 1)
    gram = core[start : start + size]
    if size > 1 and len(set(gram)) < 2:
        return (), ()
    return (core[:start] if variant == "loop" else ()), gram


def run_on(corpus: Corpus) -> Corruption:
    """Half: the reference broken off inside a phrase, and ended. Half: the reference continued, and never ended."""

    truncated = guarded(_truncated)
    continued = guarded(lambda example, rng: _continued(example, rng, corpus))

    def corrupt(example: Example, rng: random.Random) -> Negative | None:
        # the side is drawn once: cuts are refused more often than continuations, and would become the rarer half
        one, other = (truncated, continued) if rng.random() < 0.5 else (continued, truncated)
        return one(example, rng) or other(example, rng)

    return corrupt


def _truncated(example: Example, rng: random.Random) -> Negative | None:
    parts = units(reference_of(example))
    kept = round(len(parts) * rng.uniform(*CUT))
    if kept < 1 or len(parts) - kept < MIN_LOST or starts_phrase(parts[kept]):
        return None
    text = join(parts[:kept])
    return (
        None if is_finished(text) or text.endswith((",", ";", ":")) else Negative(text, "run_on", variant="truncated")
    )


def _continued(example: Example, rng: random.Random, corpus: Corpus) -> Negative | None:
    parts = units(reference_of(example))
    shortest = max(round(RUN_ON * len(parts)), len(parts) + MIN_LOST)
    if shortest > corpus.max_words:
        return None
    wanted = round(shortest * (corpus.max_words / shortest) ** rng.random())  # log-uniform
    text = list(parts)
    while len(text) < wanted:
        if rng.random() < 0.5:
            text += units(rng.choice(corpus.donors).text)
        else:
            size = min(rng.randint(*GRAM), len(parts))
            start = rng.randrange(len(parts) - size + 1)
            text += parts[start : start + size] * rng.randint(1, 4)
    text = text[:wanted]
    while len(text) > len(parts) + 1 and is_finished(text[-1]):
        text.pop()
    return Negative(join(text), "run_on", terminated=False, variant="continued")
