"""Which words two outputs share, and which words an output shares with the reference."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from markupsafe import Markup, escape

MAX_WORDS = 300
# Scripts written without spaces are compared sign by sign.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_PUNCTUATION = r"!-/:-@\[-`{-~\u2018-\u201f\u2026\u3001-\u3003\uff01-\uff0f"
_PIECE = re.compile(rf"\s+|[{_UNSPACED}]|[{_PUNCTUATION}]|[^\s{_UNSPACED}{_PUNCTUATION}]+")


def pieces(text: str) -> list[str]:
    """The text cut into words, signs and white space; joined again it is the text."""
    return _PIECE.findall(text)


def shared(words: list[str], others: list[str]) -> list[bool]:
    """For each of `words`, whether the alignment with `others` keeps it. All True beyond `MAX_WORDS`."""
    if len(words) > MAX_WORDS or len(others) > MAX_WORDS:
        return [True] * len(words)
    kept = [False] * len(words)
    for block in SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks():
        kept[block.a : block.a + block.size] = [True] * block.size
    return kept


def marked(text: str, *, reference: str, partner: str | None, own: str) -> Markup:
    """`text` with `hit` around words of the reference and `own` around words its partner arm lacks.

    Letter case does not matter for the reference, as it does not for the metrics. Everything is escaped.
    """
    cut = pieces(text)
    at = [i for i, piece in enumerate(cut) if not piece.isspace()]
    words = [cut[i] for i in at]
    in_reference = _aligned(words, reference)
    in_partner = [True] * len(words) if partner is None else shared(words, _words(partner))
    classes = [""] * len(cut)
    for i, hit, common in zip(at, in_reference, in_partner, strict=True):
        classes[i] = " ".join(name for name, on in (("hit", hit), (own, not common)) if on)
    for i in range(1, len(cut) - 1):
        # A space between two words of one class belongs to the run, so that the mark does not break.
        if cut[i].isspace() and classes[i - 1] == classes[i + 1] and "\n" not in cut[i]:
            classes[i] = classes[i - 1]
    return _wrapped(cut, classes)


def _words(text: str) -> list[str]:
    return [piece for piece in pieces(text) if not piece.isspace()]


def _aligned(words: list[str], reference: str) -> list[bool]:
    others = [word.casefold() for word in _words(reference)]
    if not others or len(words) > MAX_WORDS or len(others) > MAX_WORDS:
        return [False] * len(words)
    hits = shared([word.casefold() for word in words], others)
    return [hit and any(c.isalnum() for c in word) for hit, word in zip(hits, words, strict=True)]


def _wrapped(cut: list[str], classes: list[str]) -> Markup:
    out: list[Markup] = []
    start = 0
    for i in range(1, len(cut) + 1):
        if i == len(cut) or classes[i] != classes[start]:
            run = escape("".join(cut[start:i]))
            out.append(Markup('<span class="{}">{}</span>').format(classes[start], run) if classes[start] else run)
            start = i
    return Markup("").join(out)
