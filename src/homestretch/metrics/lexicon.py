"""What the rules of `failures` know about words: stop words, names, numbers, pairs that English does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from homestretch.metrics.sentences import sentences, words

DETERMINERS = frozenset("a an the this these those its their our your my every each".split())
PREPOSITIONS = frozenset("of in on at by for with from into onto upon between among during against towards via".split())
CONJUNCTIONS = frozenset("and or but nor".split())
AUXILIARIES = frozenset("is are was were be been am has had have can could will would shall should may might must".split())
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
NUMBER_WORDS = dict(zip("zero one two three four five six seven eight nine ten eleven twelve".split(), range(13), strict=True))
# Nouns have the form of some auxiliaries (`the can`, `of may`), and `this`, `in`, `on` do many things: left out.
_NOUNS = {"can", "will", "may", "might", "must"}
_PLAIN_PREPOSITIONS = PREPOSITIONS - {"in", "on", "by"}
_CANNOT_FOLLOW: dict[str, frozenset[str]] = {
    **dict.fromkeys(("a", "an", "the", "its", "their", "our", "your", "my", "every"),
                    (DETERMINERS | PREPOSITIONS | CONJUNCTIONS | AUXILIARIES | {"to"}) - _NOUNS - {"in", "by", "on"}),
    **dict.fromkeys(_PLAIN_PREPOSITIONS,
                    CONJUNCTIONS | AUXILIARIES - _NOUNS | PREPOSITIONS - {"in", "on", "by", "between", "among", "during"}),
    **dict.fromkeys(CONJUNCTIONS, CONJUNCTIONS),
    "to": CONJUNCTIONS | AUXILIARIES - {"be", "have"} | {"of", "is"},
}  # fmt: skip
_NEVER_LAST = frozenset("a an the its their our your my every of with from into onto upon and or but nor is are was were".split())
_NEVER_CAPITAL = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | AUXILIARIES - _NOUNS | {"we", "it", "to"}
_DOUBLES = frozenset("had that very".split())
_PLAIN_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*(?:st|nd|rd|th)?(?!\w)|[^\W_][\w.&'’-]*\w|[^\W_]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NOT_A_NAME = frozenset("I I'm I'd I'll I've OK".split())


@lru_cache(maxsize=16384)
def content_words(text: str) -> frozenset[str]:
    """First five letters of every word that is no stop word, has three letters or more, or is a number."""
    parts = (part for word in words(text) for part in word.split("_"))
    return frozenset(p[:5] for p in parts if p not in STOP_WORDS and (len(p) >= 3 or p.isdigit()))


@lru_cache(maxsize=16384)
def names_and_numbers(text: str) -> frozenset[str]:
    """Names and numbers of an output.

    A name starts with a capital and is not the first word of its sentence; a first word counts if it has another
    capital or a digit inside. Numbers come without thousands separators.
    """
    found: set[str] = set()
    for sentence in sentences(text):
        for i, token in enumerate(_TOKEN.findall(sentence)):
            if number := _NUMBER.fullmatch(token.rstrip("stndrh")):
                found.add(_plain_number(number.group()))
            elif token not in _NOT_A_NAME and (token[0].isupper() or token[0].isdigit()):
                if i > 0 or any(c.isupper() or c.isdigit() for c in token[1:]):
                    found.add(token)
    return frozenset(found)


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
    if all(_stem(part.removesuffix("'s").removesuffix("’s")) in known for part in parts):
        return True
    return len(whole) >= 2 and item[:2].isupper() and (whole in initials or whole.removesuffix("s") in initials)


@lru_cache(maxsize=4096)
def _known(text: str) -> tuple[frozenset[str], str]:
    parts = [p.removesuffix("'s").removesuffix("’s") for word in words(text) for p in word.split("_") if p]
    joined = [a + b for a, b in zip(parts, parts[1:], strict=False)]
    return frozenset(_stem(p) for p in (*parts, *joined)), "".join(p[0] for p in parts if p)


def _stem(word: str) -> str:
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

    Counted are: adjacent function words that do not go together and the same word twice; a function word that ends a
    sentence; a capitalised function word inside a sentence, after a word in lower case.
    """
    return sum(_misplaced(_PLAIN_WORD.findall(s)) for s in sentences(text))


def _misplaced(units: list[str]) -> int:
    lower = [u.lower() for u in units]
    pairs = zip(lower, lower[1:], strict=False)
    count = sum(right in _CANNOT_FOLLOW.get(left, ()) for left, right in pairs)
    count += sum(a == b and a.islower() and a not in _DOUBLES for a, b in zip(units, units[1:], strict=False))
    count += sum(a.islower() and b.istitle() and b.lower() in _NEVER_CAPITAL for a, b in zip(units, units[1:], strict=False))
    return count + bool(lower and lower[-1] in _NEVER_LAST)
