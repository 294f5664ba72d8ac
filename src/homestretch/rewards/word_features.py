"""Features of a text beside its document that words alone tell: aspects, support of what it says, conciseness.

    units       lines of a text, cut into sentences; those without a word are left out
    stems       first five letters of words that carry content, in order; g: a stem, or two neighbours in a unit
    df(g)       units of the document that have g
    A           the 30 g of the largest df of at least 2 (the first in the document where equal); where no g is in two
                units, the first 30 stems

    aspect_coverage = sum_{g in A, g in text} df(g) / sum_{g in A} df(g)
    support         = 1/2 (share of the text's names and numbers that the document has)
                      + 1/2 (share of the text's distinct stems that the document has);      a share of none is 1
    conciseness     = (1 - r) max(0, 1 - words(text) / words(document)),   r = max(a, b)
                      a = share of repeated word 4-grams
                      b = mean over units but the first of the largest share of its stems in one earlier unit

What is said in many reviews is an aspect; that salience is frequency across units is as old as the first summarisers
(Luhn 1958). The definitions are ours: sheet 2.1 (Nath et al. 2024) has the qualities, and asks a language model.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from homestretch.metrics.diversity import repeated_share
from homestretch.metrics.lexicon import content_stems, content_words, names_and_numbers, supports
from homestretch.metrics.sentences import counted_words, sentences, words

ASPECTS = 30


def units_of(text: str) -> list[str]:
    """Sentences of every line that has a word; reviews and chat messages stand one a line."""
    return [s for line in text.splitlines() for s in sentences(line) if words(s)]


def aspect_coverage(document: str, text: str) -> float | None:
    """Share, 0 to 1, of what the document says most often that the text has; 1 is all. None for a document without
    content words."""
    wanted = aspects(document)
    said = frozenset(g for unit in units_of(text) for g in _grams(unit))
    return sum(df for g, df in wanted.items() if g in said) / sum(wanted.values()) if wanted else None


def aspects(document: str) -> dict[str, int]:
    """The document's salient stems and pairs of stems, with the number of units that have them."""
    counts = Counter(g for unit in units_of(document) for g in _grams(unit))
    several = {g: df for g, df in counts.most_common() if df >= 2}
    return dict(list((several or {g: df for g, df in counts.items() if " " not in g}).items())[:ASPECTS])


def _grams(unit: str) -> list[str]:
    stems = content_stems(unit)
    # A dict and not a set, whose order would change from run to run, and with it which of equals are salient.
    return list(dict.fromkeys([*stems, *(f"{a} {b}" for a, b in pairwise(stems))]))


def specifics_support(document: str, text: str) -> float:
    """Share, 0 to 1, of the text's names and numbers that the document has; 1 for a text without any."""
    said = names_and_numbers(text)
    return sum(supports((document,), item) for item in said) / len(said) if said else 1.0


def word_support(document: str, text: str) -> float:
    """Share, 0 to 1, of the text's content words that the document has; 1 for a text without any."""
    said = content_words(text)
    return len(said & content_words(document)) / len(said) if said else 1.0


def conciseness(document: str, text: str) -> float | None:
    """0 to 1: how much shorter than its document the text is, times how little of it is said twice; 0 from the length
    of the document on. None for a document without words."""
    whole = len(counted_words(document))
    if not whole:
        return None
    redundant = max(repeated_share(words(text)), _said_before(text))
    return (1 - redundant) * max(0.0, 1 - len(counted_words(text)) / whole)


def _said_before(text: str) -> float:
    stems = [content_words(unit) for unit in units_of(text)]
    shares = [
        max(len(own & earlier) / len(own) for earlier in stems[:i]) for i, own in enumerate(stems) if i > 0 and own
    ]
    return sum(shares) / len(shares) if shares else 0.0
