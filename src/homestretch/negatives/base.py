"""What a negative is, what makes one, and the guards that hold for all of them  (Solway 2024, sheet 2.2)

    corruption(example, rng) -> Negative | None            None: does not apply to this example

A corruption is deterministic: all its randomness comes from the generator it is handed, and what it knows of other
examples comes from a `Corpus`, which is the same whatever is corrupted, and in whatever order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from homestretch.data.records import Example
from homestretch.metrics.lexicon import content_words
from homestretch.metrics.rouge import Kind, rouge_score
from homestretch.metrics.sentences import counted_words

TRIES = 20
"""Draws before a class is skipped for an example. Origin: sheet 2.2."""


@dataclass(frozen=True)
class Negative:
    """A bad answer. `terminated`: an end marker follows it; `variant`: which way of failing within the class."""

    text: str
    failure_mode: str
    terminated: bool = True
    variant: str = ""


class Corruption(Protocol):
    """Makes a negative of an example, or says that it cannot."""

    def __call__(self, example: Example, rng: random.Random) -> Negative | None: ...


Draw = Callable[[Example, random.Random], Negative | None]
Guard = Callable[[Example, Negative], bool]


def guarded(draw: Draw, *guards: Guard, tries: int = TRIES) -> Corruption:
    """The first of `tries` draws that has a word, differs from every reference and passes all guards.

    `tries=1` is for draws whose refusals are part of their distribution: drawing again would undo it.
    """

    def corrupt(example: Example, rng: random.Random) -> Negative | None:
        for _ in range(tries):
            negative = draw(example, rng)
            if negative is not None and differs(example, negative) and all(g(example, negative) for g in guards):
                return negative
        return None

    return corrupt


def reference_of(example: Example) -> str:
    """The completion without the white space around it: what every corruption starts from."""
    return example.references[0].strip()


def differs(example: Example, negative: Negative) -> bool:
    """Guard: there is text, and it is no reference, white space and case aside."""
    text = _plain(negative.text)
    return bool(text) and all(text != _plain(r) for r in example.references)


def overlap_at_most(limit: float, kind: Kind) -> Guard:
    """Guard: ROUGE F, 0 to 1, to every reference is at most `limit`."""
    return lambda example, negative: overlap(negative.text, example, kind) <= limit


def overlap(text: str, example: Example, kind: Kind) -> float:
    """Best ROUGE F, 0 to 1, of the text to the example's references.

    Over words of any script, and over characters where it has no spaces: there a word would be a whole clause.
    """
    ours = counted_words(text)
    return max(rouge_score(ours, counted_words(r), kind).f for r in example.references) / 100


def invents(at_least: int, share: float = 0.0) -> Guard:
    """Guard: so many content words, and this share of them, stand neither in the source nor in a reference.

    It keeps a true statement about the document from being called a failure because it is somebody else's sentence.
    """

    def guard(example: Example, negative: Negative) -> bool:
        ours = content_words(negative.text)
        new = len(ours - known_words(example))
        return new >= at_least and new >= share * len(ours)

    return guard


def known_words(example: Example) -> frozenset[str]:
    """Content words of the source and of all references."""
    return content_words(example.source).union(*(content_words(r) for r in example.references))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
