"""What makes a docstring a pair (body -> summary line): pure functions of text, used by `docstrings`.

A pair is kept where the first sentence can be told from the rest: both are prose, of bounded length, and the body
repeats enough of the summary's content words. Everything that is notation (signatures, parameter lists, doctests,
directives, mathematics, links) ends the body or refuses the pair.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

SUMMARY_WORDS = range(4, 21)
BODY_WORDS = range(15, 81)
MIN_OVERLAP = 0.5
"""Least share of the summary's content words (by stem, two at least) that the body must contain."""
MIN_PROSE = 0.75
"""Least share of a text's words that are plain words, not names with digits, capitals or underscores."""


class Pair(NamedTuple):
    """`body` is the document, `summary` one sentence with a full stop, `name` where the docstring stood."""

    body: str
    summary: str
    name: str


_HEADERS = (
    "parameter|param|argument|arg|keyword|attribute|return|yield|raise|except|example|usage|note|see also|reference|"
    "warn|method|option|input|output|shape|field|member|propert|default|version|author|copyright|license|todo|deprecat|"
    "examples?|notes?|tests?|algorithm|syntax|call signature|other parameters|kwargs|constructor|synopsis"
)
_SECTION = re.compile(rf"^\W{{0,2}}(?:{_HEADERS})[a-z]*(?: [a-z]+)?\W*(?::|$)", re.IGNORECASE)
_NOTATION = re.compile(
    r"^\s*(?:\.\.|>>>|[-*+o]\s|\d+[.)]\s|:\w|@\w|\||#|\$|[A-Z]\.\s|```|\{|\(\w\)|[-=~^*+]{3})"  # lists, blocks
    r"|^\s*[\w.*`\[\]]+(?:\s*\([^)]*\))?\s*(?:--?|:|=)\s"  # `name: text`, `name - text`, `name (type): text`
)
_REFUSED = re.compile(
    r">>>|::|->|=>|==|:=|\\|https?:|www\.|:math|\$|[<>{}|^~]|\w\(\w+=|\bTODO\b|\bFIXME\b|\bXXX\b|\.\. |[^\x20-\x7e]|"
    r"\b\w+ = |@\w|\.\.\.|\[\d+\]_?|%[sdr(]|__\w+__.*__\w+__|\(c\)|(?i:copyright|licen[sc]e|see also|versionadded)"
)
_POOR_SUMMARY = re.compile(
    r"^(?:tests?(?! whether| if| for)|testing|see|note|deprecated|same as|alias|like|similar|example|usage|this|these|"
    r"that|it|they|we|you|i|if|when|internal|helper|warning|author|module|"
    r"a?n? ?(?:object|function|method|mixin|subclass)"
    r"|constructor|constructs? an?|init\w*|returns? (?:a|the)? ?(?:string|true|none|self)|shortcut|wrapper"
    r"|overrid\w+)\W",
    re.IGNORECASE,
)
_NOTATION_IN_SUMMARY = re.compile(r"\w\((?!s\))|[\[\]=:;!?*/\"]|\b(?:e\.g|i\.e|etc)\b|'[^']* ")
_EMPHASIS = re.compile(r"(?<!\S)\*{1,2}(\w(?:[^*]*\w)?)\*{1,2}(?![\w*])")
_ROLE = re.compile(r":[\w+:]+:`~?(?:[^`<]*<)?([^`>]+)>?`")
_SENTENCE_END = re.compile(
    r"(?<![A-Z])(?<![eE]\.g)(?<!\beg)(?<![iI]\.e)(?<!etc)(?<!\bvs)(?<!\bcf)(?<!al)(?<!\bresp)[.!?]\s+(?=[`'\"(]?[A-Z])"
)
_POINTER = re.compile(
    r"(?:please )?(?:see|refer to|read more|consult|check out|for (?:an? )?(?:more|further|full|complete|detail))",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_STOP_WORDS = (
    "a an the of to in on for with by from as at is are be been was were this that these those it its and or not no if "
    "when which who whose will can may must should would could into onto than then so such each any all some other one "
    "two given return returns returned get gets set sets whether use used uses using make makes has have had do does "
    "done between where what how but also only more most over under about there their them they we you your our i "
    "via per object class function method value values"
)
_STOP = frozenset(_STOP_WORDS.split())


def pair_of(docstring: str, name: str) -> Pair | None:
    """The pair in one docstring, or None where there is none worth learning from."""
    paragraphs = _paragraphs(docstring)
    opening = next(paragraphs, "")
    if not opening:
        return None
    first, *rest = sentences(opening)
    summary = first if first.endswith(".") else first + "."
    if not _good_summary(summary):
        return None
    body = _body([*rest, *(s for p in paragraphs for s in sentences(p))])
    if not _good_body(body) or overlap(summary, body) < MIN_OVERLAP or _copied(summary, body):
        return None
    return Pair(body, summary, name)


def sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph."""
    parts, start = [], 0
    for end in _SENTENCE_END.finditer(paragraph):
        parts.append(paragraph[start : end.start() + 1])
        start = end.end()
    return [*parts, paragraph[start:]]


def overlap(summary: str, body: str) -> float:
    """Share of the summary's content stems that the body contains; 0 where fewer than two are shared."""
    wanted = content(summary)
    shared = wanted & content(body)
    return len(shared) / len(wanted) if len(shared) > 1 else 0.0


def content(text: str) -> set[str]:
    """Stems of the content words of a text: lower case, identifiers split, plural and verb endings cut."""
    words = (w.lower() for token in _WORD.findall(text) for w in re.split(r"_|(?<=[a-z])(?=[A-Z])", token) if w)
    return {_stem(w) for w in words if w not in _STOP and len(w) > 1}


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ers", "ies", "ied", "ion", "ed", "es", "er", "e", "s", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _paragraphs(docstring: str) -> Iterator[str]:
    """Leading prose paragraphs on one line each: up to the first section, list, code block or other notation."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = block.split("\n")
        if _SECTION.match(lines[0]) or any(line.startswith(" ") or _NOTATION.search(line) for line in lines):
            return
        yield _EMPHASIS.sub(r"\1", " ".join(_ROLE.sub(r"`\1`", block.replace("``", "`")).split()))


def _body(candidates: list[str]) -> str:
    """Whole sentences of prose up to the greatest length, without mere pointers to other pages; what announces a list,
    or is notation, ends it."""
    kept: list[str] = []
    words = 0
    for sentence in candidates:
        if _POINTER.match(sentence):
            continue
        words += len(sentence.split())
        if sentence[-1:] not in ".!?" or words >= BODY_WORDS.stop or _REFUSED.search(sentence):
            break
        kept.append(sentence)
    return " ".join(kept)


def _good_summary(text: str) -> bool:
    return (
        len(text.split()) in SUMMARY_WORDS
        and text[0].isupper()
        and (text[-2].isalnum() or text[-2] == "`")
        and not _NOTATION_IN_SUMMARY.search(text)
        and not _REFUSED.search(text)
        and not _POOR_SUMMARY.match(text)
        and _prose_share(text) >= MIN_PROSE
    )


def _good_body(text: str) -> bool:
    return len(text.split()) in BODY_WORDS and (text[0].isupper() or text[0] == "`") and _prose_share(text) >= MIN_PROSE


def _prose_share(text: str) -> float:
    """Share of words that are plain lower-case or capitalised letters."""
    words = text.split()
    return sum(bool(re.fullmatch(r"[(\"']?[A-Za-z][a-z]*(?:[-'][a-z]+)*[.,;:!?)\"']*", w)) for w in words) / len(words)


def _copied(summary: str, body: str) -> bool:
    """True where the body simply says the summary again."""
    return summary.lower().rstrip(".") in body.lower()
