"""Right form, wrong fact: `swapped` (sheet 2.2), `opposite` (ours)

One thing of the reference is exchanged for one that the document does not have: what is left is fluent, of the right
length, and false. No word must be better known as wrong than as right. For `swapped` a donor is drawn from all
entities of the references, as often as they occur; a name that contains the one it would replace is none. `opposite`
(English) draws once and not again:

    J(w, w') = f(w) / n(w) min(1, f(w') n(w) / (f(w) n(w')))
             = min(f(w) / n(w), f(w') / n(w'))                         symmetric in w and w'

with f the number of references that have the word and n its number of opposites, of which one is drawn: what is
replaced has the distribution of what replaces it.
"""

from __future__ import annotations

import random
import re

from homestretch.data.records import Example
from homestretch.metrics.sentences import words
from homestretch.negatives.base import Corruption, Negative, guarded, reference_of
from homestretch.negatives.corpus import Corpus
from homestretch.negatives.entities import Entity, entities, perturbed
from homestretch.negatives.phrases import cased
from homestretch.negatives.verbs import opposites

MAX_CHANGES = 3


def swapped(corpus: Corpus) -> Corruption:
    """One to three names, identifiers or numbers of the reference exchanged for others of their type."""
    pool: dict[str, list[str]] = {}
    for donor in corpus.donors:
        for entity in entities(donor.text, corpus.names):
            pool.setdefault(entity.type, []).append(entity.text)

    def draw(example: Example, rng: random.Random) -> Negative | None:
        text = reference_of(example)
        found = list(dict.fromkeys(entities(text, corpus.names)))
        evidence = " ".join((example.source, *example.references)).casefold()
        changes: dict[str, str] = {}
        for entity in rng.sample(found, min(len(found), rng.randint(1, MAX_CHANGES))):
            other = _replacement(entity, pool, rng)
            known = other.casefold() in evidence or other in changes.values() or _contains(other, entity)
            if other and not known:
                changes[entity.text] = other
        if not changes:
            return None
        pattern = "|".join(rf"(?<!\w){re.escape(old)}(?!\w)" for old in sorted(changes, key=len, reverse=True))
        return Negative(re.sub(pattern, lambda m: changes[m.group()], text), "swapped")

    return guarded(draw)


def _replacement(entity: Entity, pool: dict[str, list[str]], rng: random.Random) -> str:
    if entity.type == "number" and rng.random() < 0.5:
        return perturbed(entity.text, rng)
    return rng.choice(pool[entity.type]) if pool.get(entity.type) else ""


def _contains(other: str, entity: Entity) -> bool:
    """True for a name that may still be right: `GANs` for `GAN`, `British Hong Kong` for `Hong Kong`."""
    ours, theirs = ("".join(filter(str.isalnum, name.casefold())) for name in (entity.text, other))
    return entity.type != "number" and ours in theirs


def opposite(corpus: Corpus) -> Corruption:
    """One word of the reference turned into its opposite, which the document does not mention."""

    def draw(example: Example, rng: random.Random) -> Negative | None:
        text = reference_of(example)
        known = set(words(example.source)).union(*(words(r) for r in example.references))
        places = [m for m in re.finditer(r"[A-Za-z]+", text) if m.group().lower() in opposites()]
        if not places:
            return None
        place = rng.choice(places)
        old = place.group().lower()
        others = opposites()[old]
        new = rng.choice(others)
        often = corpus.frequency[new] * len(others) / len(opposites()[new])
        if new in known or rng.random() * max(1, corpus.frequency[old]) > often:
            return None
        return Negative(text[: place.start()] + cased(new, place.group()) + text[place.end() :], "opposite")

    return guarded(draw, tries=1)
