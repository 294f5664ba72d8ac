"""Right words, wrong deed: `action`, `roles`  (ours; English)

`action` exchanges the leading verb or its object for those of another reference; in `roles` two phrases of the
reference change places (`convert a string to a number` becomes `convert a number to a string`), so that every word
is right and the sentence is not.

No word must be better known as wrong than as right. Objects are drawn uniformly from donor references, so they are as
frequent as originals. A verb is drawn once and not again:

    J(h, g | next word) ~ f(h) f(g)   where h and g contradict, else no negative      symmetric in h and g

with f the frequency as a leading verb: what is replaced has the distribution of what replaces it.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import pairwise

from homestretch.data.records import Example
from homestretch.metrics.lexicon import AUXILIARIES, content_words
from homestretch.metrics.sentences import words
from homestretch.negatives.base import Corruption, Negative, guarded, known_words, reference_of
from homestretch.negatives.corpus import Corpus
from homestretch.negatives.phrases import Unit, bare, cased, dressed, join, starts_phrase, units
from homestretch.negatives.verbs import action_groups, contradict, group_words, third_person

LONGEST_OBJECT = 6
LONGEST_ROLE = 5
FEWEST_DEEDS = 0.1
COMMON, SEVERAL = 0.01, 3
"""An object may well be true if it invents only words that more references have than this share and number."""
_SYMMETRIC = frozenset(
    ["and", "or", "but", "nor", "as", "than", "like", "between", "with", "whether", "if", "when", "that"]
)
_SUBJECT = re.compile(
    r"(?:in this (?:paper|work),? )?(?:we|i|it|this (?:paper|work|article|function|method|class)"
    r"|the (?:paper|authors?)) (?:also |then |further |can )?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Deed:
    """A reference as `lead verb object rest`, in units; the object may be empty."""

    lead: tuple[str, ...]
    verb: Unit
    object: tuple[str, ...]
    rest: tuple[str, ...]

    @property
    def next_word(self) -> str:
        """The word after the verb, lower case."""
        return (*self.object, *self.rest, "")[0].lower()


def deed(text: str) -> Deed | None:
    """Finds the leading verb, behind a subject or at the start; None unless the verb is a known one."""
    subject = _SUBJECT.match(text)
    lead = units(subject.group()) if subject else ()
    parts = units(bare(text))
    if len(parts) <= len(lead) or not action_groups(parts[len(lead)]):
        return None
    after = parts[len(lead) + 1 :]
    if after and after[0][:1].isupper() and parts[len(lead)][:1].isupper():  # a name, such as `Test Valley`
        return None
    end = next((i for i, u in enumerate(after) if starts_phrase(u) or (i and after[i - 1][-1] in ",;:")), len(after))
    return Deed(lead, parts[len(lead)], after[:end], after[end:])


def action(corpus: Corpus) -> Corruption:
    """The leading verb, or its object, exchanged for that of another reference: a thing the document does not do."""
    donors = _deeds(corpus)
    by_next: dict[tuple[str, bool], list[Deed]] = {}
    by_object: dict[tuple[frozenset[str], int], list[Deed]] = {}
    for d in donors:
        by_next.setdefault((d.next_word, third_person(d.verb)), []).append(d)
        by_object.setdefault((action_groups(d.verb), len(d.object)), []).append(d)

    def draw(example: Example, rng: random.Random) -> Negative | None:
        ours = deed(reference_of(example))
        if ours is None or not donors:
            return None
        attempts = (_other_verb(example, ours, by_next, rng), _other_object(example, ours, by_object, corpus, rng))
        made = [a for a in attempts if a is not None]
        return rng.choice(made) if made else None

    return guarded(draw, tries=1)


def _deeds(corpus: Corpus) -> list[Deed]:
    """The deeds of all references; none where few references have one: what looks like a verb is a name then."""
    found = [d for d in (deed(donor.text) for donor in corpus.donors) if d]
    return found if len(found) >= FEWEST_DEEDS * len(corpus.donors) else []


def _other_verb(
    example: Example, ours: Deed, by_next: dict[tuple[str, bool], list[Deed]], rng: random.Random
) -> Negative | None:
    donors = by_next.get((ours.next_word, third_person(ours.verb)))
    if not donors:
        return None
    verb = rng.choice(donors).verb.lower()
    theirs = action_groups(verb)
    mentioned = set(words(example.source)).union(*(words(r) for r in example.references))
    if not contradict(action_groups(ours.verb), theirs) or mentioned & group_words(theirs):
        return None
    other = Unit(cased(verb, ours.verb), ours.verb.before)
    text = join([*ours.lead, other, *ours.object, *ours.rest])
    return Negative(dressed(text, reference_of(example)), "action", variant="verb")


def _other_object(
    example: Example,
    ours: Deed,
    by_object: dict[tuple[frozenset[str], int], list[Deed]],
    corpus: Corpus,
    rng: random.Random,
) -> Negative | None:
    if not 0 < len(ours.object) <= LONGEST_OBJECT:
        return None
    size = len(ours.object) + rng.choice((-1, 0, 0, 1))
    donors = by_object.get((action_groups(ours.verb), size))
    if not donors or size < 1:
        return None
    theirs = rng.choice(donors).object
    common = max(SEVERAL, COMMON * len(corpus.donors))
    telling = " ".join(w for w in words(join(theirs)) if corpus.frequency[w] <= common)
    new = content_words(telling) - known_words(example)
    if not new or not content_words(join(ours.object)) - content_words(join(theirs)):
        return None
    text = join([*ours.lead, ours.verb, *theirs, *ours.rest])
    return Negative(dressed(text, reference_of(example)), "action", variant="object")


def roles(corpus: Corpus) -> Corruption:
    """Two phrases of the reference, one before and one behind a connector, change places."""

    applies = bool(_deeds(corpus))

    def draw(example: Example, rng: random.Random) -> Negative | None:
        reference = reference_of(example)
        found = deed(reference) if applies else None
        if found is None:
            return None
        parts = [*found.object, *found.rest]
        stops = [0, *(i + 1 for i, u in enumerate(parts) if starts_phrase(u)), len(parts) + 1]
        spans = [(a, b - 1) for a, b in pairwise(stops)]
        swaps = [
            (one, two)
            for one, two in pairwise(spans)
            if parts[one[1] : one[1] + 1]
            and parts[one[1]].lower() not in _SYMMETRIC
            and all(_is_role(parts[a:b]) for a, b in (one, two))
        ]
        if not swaps:
            return None
        (a, b), (c, d) = rng.choice(swaps)
        text = [*found.lead, found.verb, *parts[:a], *parts[c:d], *parts[b:c], *parts[a:b], *parts[d:]]
        return Negative(dressed(join(text), reference), "roles")

    return guarded(draw)


def _is_role(span: list[str]) -> bool:
    """True for a short phrase of nouns, as far as spelling tells."""
    if not 0 < len(span) <= LONGEST_ROLE or span[0].endswith("ing") or any(u[-1] in ",;:" for u in span):
        return False
    return bool(content_words(join(span))) and not any(u.lower() in AUXILIARIES for u in span)
