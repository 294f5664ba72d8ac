"""Cutting and joining text: units, endings, and the places where a phrase ends.

A unit is a run without white space, or one character of a script that is written without spaces. It remembers the
white space that stood before it, so that units go back to the text they come from, and take their line breaks along
where they are moved.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from homestretch.metrics.scripts import UNSPACED

_UNIT = re.compile(rf"(\s*)([{UNSPACED}]|[^\s{UNSPACED}]+)")
_DENSE = re.compile(f"[{UNSPACED}]")
_ENDING = re.compile(r"(?:\s*[.!?\u2026\u3002\uff01\uff1f]+[\"'\u201d\u2019)\]}»*`]*)\s*$")
_DANGLING = re.compile(r"[\s,;:(\[{\u2013\u2014-]+$")
CONNECTORS = frozenset(  # English
    [
        "about",
        "after",
        "against",
        "and",
        "as",
        "at",
        "based",
        "before",
        "between",
        "but",
        "by",
        "during",
        "for",
        "from",
        "if",
        "in",
        "into",
        "like",
        "of",
        "on",
        "onto",
        "or",
        "over",
        "so",
        "than",
        "that",
        "through",
        "to",
        "under",
        "unless",
        "until",
        "upon",
        "using",
        "via",
        "when",
        "where",
        "whereas",
        "whether",
        "which",
        "while",
        "with",
        "within",
        "without",
    ]
)
"""Words that start a phrase; English."""


class Unit(str):
    """A unit; `before` is the white space in front of it. Units are equal, and hashed, as their text is."""

    __slots__ = ("before",)

    def __new__(cls, text: str, before: str = "") -> Unit:
        unit = super().__new__(cls, text)
        unit.before = before
        return unit


@lru_cache(maxsize=65536)
def units(text: str) -> tuple[Unit, ...]:
    """The units of a text, punctuation left on them."""
    return tuple(Unit(unit, before) for before, unit in _UNIT.findall(text))


def word_count(text: str) -> int:
    """Length of a text in units: the default measure of length."""
    return len(units(text))


def join(parts: Sequence[str]) -> str:
    """Units back to text, without the white space around it: the inverse of `units`.

    Where nothing stood before a unit (it was the first, or is no unit of a text), a space does now, except beside a
    character of a script without spaces.
    """
    made = list(parts[:1])
    for left, right in pairwise(parts):
        before = right.before if isinstance(right, Unit) else ""
        tight = _DENSE.match(left[-1:]) or _DENSE.match(right)
        made += [before or ("" if tight else " "), right]
    return "".join(made)


def bare(text: str) -> str:
    """The text without the punctuation that ends its last sentence."""
    return _ENDING.sub("", text).rstrip()


def ending(text: str) -> str:
    """The punctuation that ends the last sentence; empty where there is none."""
    found = _ENDING.search(text)
    return found.group().strip() if found else ""


def dressed(text: str, like: str) -> str:
    """The text with the first capital and the final punctuation of `like`, so that neither gives it away."""
    core = _DANGLING.sub("", bare(text.strip()))
    if core[:1].islower() and like[:1].isupper() and core.split()[0].strip(",.;:").isalpha():
        core = core[:1].upper() + core[1:]
    return core + ending(like) if core else ""


def cased(word: str, like: str) -> str:
    """The word with the capitals of `like`."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[:1].isupper() else word


def starts_phrase(unit: str) -> bool:
    """True for a unit before which a phrase ends."""
    return unit.strip("(\"'`").lower() in CONNECTORS


def phrase_ends(parts: Sequence[str]) -> list[int]:
    """Positions i, 0 < i < len, such that a phrase ends between units i-1 and i: at a connector or after a comma."""
    return [i for i in range(1, len(parts)) if starts_phrase(parts[i]) or parts[i - 1][-1:] in ",;:"]


def surviving_bigrams(before: Sequence[str], after: Sequence[str]) -> float:
    """Share of the neighbours in `before` that are neighbours, in this order, in `after`; 0 without neighbours."""
    left, right = list(pairwise(before)), list(pairwise(after))
    kept = 0
    for pair in left:
        if pair in right:
            right.remove(pair)
            kept += 1
    return kept / len(left) if left else 0.0
