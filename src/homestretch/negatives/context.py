"""Good sentences in the wrong place: `irrelevant`, `near_miss`, `copy`, `spliced`  (sheet 2.2; two of ours)

`irrelevant` and `copy` are the sheet's. `near_miss` is the reference of a document that is about nearly the same;
`spliced` starts as the reference and ends as another one. Both are what a fine-tuned model gets wrong: a fluent line
of the right kind that says what the document does not. Both must *invent*: content words that are neither in the
document nor in a reference, so that a true sentence is not called a failure.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from homestretch.data.records import Example
from homestretch.metrics.rouge import rouge_score
from homestretch.metrics.sentences import counted_words
from homestretch.negatives.base import Corruption, Negative, guarded, invents, overlap_at_most, reference_of
from homestretch.negatives.corpus import Corpus, Donor
from homestretch.negatives.phrases import bare, dressed, join, phrase_ends, units

UNRELATED = 0.5
NOT_COPIED = 0.7
DERANGEMENTS = 32
NEIGHBOURS, SEARCHED, SAME_DOCUMENT = 6, 30, 0.9
SPLICE_AT = (0.25, 0.75)
LENGTH_RATIO = 1.5


def irrelevant(corpus: Corpus) -> Corruption:
    """The reference of another document, given by a derangement among references of like length."""

    def draw(example: Example, rng: random.Random) -> Negative | None:
        donor = corpus.partner(example, rng.randrange(DERANGEMENTS))
        if donor is None or example.source in donor.sources:
            return None
        return Negative(donor.text, "irrelevant")

    return guarded(draw, overlap_at_most(UNRELATED, "rouge1"))


def near_miss(corpus: Corpus) -> Corruption:
    """A reference of like length from the six most similar other documents, saying something the document does not."""

    unlike, news = overlap_at_most(UNRELATED, "rouge1"), invents(1, share=0.25)

    def candidates(example: Example) -> Iterator[Negative]:
        wanted = len(units(reference_of(example)))
        for donor, score in corpus.similar(example, SEARCHED):
            negative = Negative(donor.text, "near_miss")
            other = score < SAME_DOCUMENT and example.source not in donor.sources
            alike = other and _alike(donor.length, wanted)
            if alike and unlike(example, negative) and news(example, negative):
                yield negative

    def draw(example: Example, rng: random.Random) -> Negative | None:
        near = list(islice(candidates(example), NEIGHBOURS))
        return rng.choice(near) if near else None

    return guarded(draw)


def copy(corpus: Corpus) -> Corruption:
    """The document itself: whole, its beginning, or a span of it; the last two as long as the reference or shorter."""

    def draw(example: Example, rng: random.Random) -> Negative | None:
        document = units(example.source)
        wanted = len(units(reference_of(example)))
        if rng.random() < 0.5:
            wanted = round(wanted * rng.uniform(0.6, 1.0))
        variant = rng.choice(("whole", "prefix", "span"))
        size = min(len(document), corpus.max_words if variant == "whole" else max(1, wanted))
        start = rng.randrange(len(document) - size + 1) if variant == "span" else 0
        text = join(document[start : start + size])
        return Negative(
            text if size == len(document) else dressed(text, reference_of(example)), "copy", variant=variant
        )

    return guarded(draw, overlap_at_most(NOT_COPIED, "rougeL"))


def spliced(corpus: Corpus) -> Corruption:
    """The reference up to a connector near its middle, and from the same connector on another one."""

    @lru_cache(maxsize=1)
    def tails() -> dict[str, list[Donor]]:
        found: dict[str, list[Donor]] = {}
        for donor in corpus.donors:
            parts = units(bare(donor.text))
            for connector in sorted({parts[i].lower() for i in phrase_ends(parts)}):
                found.setdefault(connector, []).append(donor)
        return found

    def draw(example: Example, rng: random.Random) -> Negative | None:
        reference = reference_of(example)
        parts = units(bare(reference))
        cuts = [i for i in phrase_ends(parts) if SPLICE_AT[0] <= i / len(parts) <= SPLICE_AT[1]]
        if not cuts:
            return None
        cut = rng.choice(cuts)
        near = [donor for donor, score in corpus.similar(example, SEARCHED) if score < SAME_DOCUMENT]
        donors = near if near and rng.random() < 0.5 else tails().get(parts[cut].lower(), [])
        donor = rng.choice(donors) if donors else None
        if donor is None or example.source in donor.sources:
            return None
        tail = _tail(donor, parts[cut], len(parts) - cut)
        if not tail or not _is_news(tail, example):
            return None
        return Negative(dressed(join([*parts[:cut], *tail]), reference), "spliced")

    return guarded(draw)


def _alike(length: int, wanted: int) -> bool:
    return 1 / LENGTH_RATIO <= length / max(1, wanted) <= LENGTH_RATIO


def _tail(donor: Donor, connector: str, wanted: int) -> tuple[str, ...]:
    """The donor's units from the connector on, of about the wanted length; empty where there is no such place."""
    parts = units(bare(donor.text))
    for i in phrase_ends(parts):
        if parts[i].lower() == connector.lower() and _alike(len(parts) - i, wanted):
            return parts[i:]
    return ()


def _is_news(tail: tuple[str, ...], example: Example) -> bool:
    negative = Negative(join(tail), "spliced")
    ours = counted_words(negative.text)
    same = max(rouge_score(ours, counted_words(r), "rouge1").precision for r in example.references)
    return same <= 100 * UNRELATED and invents(2, share=0.5)(example, negative)
