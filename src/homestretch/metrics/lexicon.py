"""What the rules of `failures` know about words: stop words, names, numbers, pairs that English does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from homestretch.metrics.sentences import APOSTROPHES, plain, sentences, words

DETERMINERS = frozenset("a an the this these those its their our your my every each".split())
PREPOSITIONS = frozenset("of in on at by for with from into onto upon between among during against towards via".split())
CONJUNCTIONS = frozenset("and or but nor".split())
AUXILIARIES = frozenset(
    "is are was were be been am has had have can could will would shall should may might must".split()
)
STOP_WORDS = (
    DETERMINERS
    | PREPOSITIONS
    | CONJUNCTIONS
    | AUXILIARIES
    | frozenset(
        """about after all also any as because before being both did do does doing done each few further he her here him
        his how i if it just me more most no not now off only other out over own same she so some such than that them
        then there they through to too under until up very we what when where which while who whom why you us used
        using use""".split()
    )
)
NUMBER_WORDS = dict(
    zip("zero one two three four five six seven eight nine ten eleven twelve".split(), range(13), strict=True)
)
# Nouns have the form of some auxiliaries (`the can`, `of may`), and `this`, `in`, `on` do many things: left out.
_NOUNS = {"can", "will", "may", "might", "must"}
_PLAIN_PREPOSITIONS = PREPOSITIONS - {"in", "on", "by"}
_AUXILIARIES = AUXILIARIES - _NOUNS
_AFTER_ARTICLE = DETERMINERS | _PLAIN_PREPOSITIONS | CONJUNCTIONS | _AUXILIARIES | {"to"}
_AFTER_PREPOSITION = CONJUNCTIONS | _AUXILIARIES | _PLAIN_PREPOSITIONS - {"between", "among", "during"}
_CANNOT_FOLLOW: dict[str, frozenset[str]] = {
    **dict.fromkeys("a an the its their our your my every".split(), _AFTER_ARTICLE),
    **dict.fromkeys(_PLAIN_PREPOSITIONS, _AFTER_PREPOSITION),
    **dict.fromkeys(CONJUNCTIONS, CONJUNCTIONS),
    "to": CONJUNCTIONS | _AUXILIARIES - {"be", "have"} | {"of"},
}
_NEVER_LAST = frozenset(
    "a an the its their our your my every of with from into onto upon and or but nor is are was were".split()
)
_NEVER_CAPITAL = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | _AUXILIARIES | {"we", "it", "to"}
_DOUBLES = frozenset("had that very".split())
_PLAIN_WORD = re.compile(rf"\w+(?:[{APOSTROPHES}-]\w+)*|[^\w\s]")
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*(?:st|nd|rd|th)?(?!\w)|[^\W_][\w.&" + APOSTROPHES + r"-]*\w|[^\W_]")
_POSSESSIVE = re.compile(rf"[{APOSTROPHES}]s$")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NOT_A_NAME = frozenset("I I'm I'd I'll I've OK".split())


@lru_cache(maxsize=16384)
def content_words(text: str) -> frozenset[str]:
    """First five letters of every word that is no stop word, has three letters or more, or is a number."""
    return frozenset(content_stems(text))


@lru_cache(maxsize=16384)
def content_stems(text: str) -> tuple[str, ...]:
    """The same in the order of the text, as often as they stand there."""
    parts = (part for word in words(text) for part in word.split("_"))
    return tuple(p[:5] for p in parts if p not in STOP_WORDS and (len(p) >= 3 or p.isdigit()))


@lru_cache(maxsize=16384)
def names_and_numbers(text: str) -> frozenset[str]:
    """Names and numbers of an output.

    A name starts with a capital and is not the first word of its sentence; a first word counts if it has another
    capital or a digit inside. Numbers come without thousands separators.
    """
    found: set[str] = set()
    for sentence in sentences(plain(text)):
        for i, token in enumerate(_TOKEN.findall(sentence)):
            if number := _NUMBER.fullmatch(token.rstrip("stndrh")):
                found.add(_plain_number(number.group()))
            elif token not in _NOT_A_NAME and _is_name(token, first=i == 0):
                found.add(token)
    return frozenset(found)


def _is_name(token: str, *, first: bool) -> bool:
    capital = token[0].isupper() or token[0].isdigit()
    return capital and (not first or any(c.isupper() or c.isdigit() for c in token[1:]))


def supports(evidence: Iterable[str], item: str) -> bool:
    """True where one of the texts contains the name or number."""
    return any(_supports(text, item) for text in evidence)


@lru_cache(maxsize=65536)
def _supports(text: str, item: str) -> bool:
    if _NUMBER.fullmatch(item):
        return item in _numbers(text)
    known, initials = _known(text)
    parts = [part for part in words(item.replace(".", " ").replace("-", " ").replace("_", " ")) if part]
    whole = "".join(parts)
    if _stem(whole) in known or all(_stem(part) in known for part in parts):
        return True
    return len(whole) >= 2 and item[:2].isupper() and (whole in initials or whole.removesuffix("s") in initials)


@lru_cache(maxsize=4096)
def _known(text: str) -> tuple[frozenset[str], str]:
    parts = [p for word in words(text) for p in word.split("_") if p]
    joined = [a + b for a, b in pairwise(parts)]
    return frozenset(_stem(p) for p in (*parts, *joined)), "".join(p[0] for p in parts)


def _stem(word: str) -> str:
    word = _POSSESSIVE.sub("", word)
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


@lru_cache(maxsize=4096)
def _numbers(text: str) -> frozenset[str]:
    spelled = {str(NUMBER_WORDS[w]) for w in words(text) if w in NUMBER_WORDS}
    return frozenset(_plain_number(n) for n in _NUMBER.findall(text)) | spelled


def _plain_number(token: str) -> str:
    plain = re.sub(r",(?=\d{3}(?!\d))", "", token)
    return plain.rstrip("0").rstrip(".") if "." in plain and plain.count(".") == 1 else plain


@lru_cache(maxsize=16384)
def misplaced_words(text: str) -> int:
    """How many words stand where English has none of their kind.

    Counted are: adjacent function words that do not go together; the same word twice; a function word before the full
    stop; a capitalised function word between words in lower case.
    """
    return sum(_misplaced(_PLAIN_WORD.findall(s)) for s in sentences(text))


def _misplaced(units: list[str]) -> int:
    lower = [unit.lower() for unit in units]
    count = int(len(units) > 1 and units[-1] in ".!?" and units[-2] in _NEVER_LAST)
    for left, right in pairwise(lower):
        count += right in _CANNOT_FOLLOW.get(left, ())
    for left, right in pairwise(units):
        count += left == right and left.islower() and left not in _DOUBLES
    for left, middle, right in zip(units, units[1:], units[2:], strict=False):
        # `The` before another capital may begin a title.
        count += left.islower() and middle.istitle() and middle.lower() in _NEVER_CAPITAL and right.islower()
    return count
